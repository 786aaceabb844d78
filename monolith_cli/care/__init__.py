"""Judging checkpoints: which steps are whole, what changed between them, what is wrong in them."""
