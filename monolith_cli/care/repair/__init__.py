"""A new directory with what is undamaged of a step, and flipped bits put back."""
