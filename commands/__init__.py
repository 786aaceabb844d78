"""The commands of `monolith`, one file for each group; the table that names them is in `cli.py`.

A command parses, calls the library, and hands the result to `monolith_cli.reports`.
"""
