"""What the chief saves, when, in which order, and how it is committed."""
