"""A run of the job, from a session that is made to its end; who is its chief."""
