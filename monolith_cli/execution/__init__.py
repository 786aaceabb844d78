"""Who does the work: tasks as data, and executors that run them."""
