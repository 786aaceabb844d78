"""`python -m monolith_cli` is `monolith`."""

from __future__ import annotations

from monolith_cli.cli import main

main()
