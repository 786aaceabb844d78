"""Synthetic checkpoints, to try things on and to measure with."""
