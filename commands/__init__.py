"""The commands of `monolith`, one file a group; the table that names them is in `cli.py`.

A command parses, calls the library, and hands the result to `monolith_cli.reports`.
"""
