"""Directories to objects: names, shard sets, steps, the shapes of a model directory."""
