"""The client of a running job: its address, its Controller service, its action file."""
