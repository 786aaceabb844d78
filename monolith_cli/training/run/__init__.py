"""A run of the job, from the making of a session to its end, and which process is its chief."""
