"""The console script; `python -m monolith_cli` is the same."""

from __future__ import annotations

import gc
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, in a process of its own."""
    # Passes of the collector over what imports leave behind are a sixth of start-up, and no command
    # makes reference cycles that grow with its data.
    gc.disable()
    from monolith_cli.cli import main as run

    run()


if __name__ == "__main__":
    main()
