"""Two checkpoints' tables held against each other, entry by entry, by feature id."""
