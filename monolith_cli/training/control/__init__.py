"""The service by which others place, remove, save and stop."""
