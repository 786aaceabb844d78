"""The barrier: its variables, the chief's side, the workers' side, and how they leave."""
