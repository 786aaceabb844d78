"""The state of a worker's iterators: saved at the barrier, restored, looked into."""
