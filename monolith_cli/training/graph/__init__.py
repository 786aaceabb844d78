"""What the graphs and sessions of a job have in common: devices, scopes, and paths."""
