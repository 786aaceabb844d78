"""The state of a worker's iterators: saved at the barrier, restored, and looked at."""
