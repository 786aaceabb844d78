"""The console script; `python -m monolith_cli` is the same."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, in a process of its own."""
    # Passes of the collector over what imports leave behind are a sixth of start-up, and no command
    # makes reference cycles that grow with its data.
    gc.disable()
    from monolith_cli.cli import main as run

    code = run()
    if not _is_watched():
        # What had to be undone is undone. Taking the interpreter apart, module by module, would be
        # three hundredths of a short command; and after a signal, threads may still be reading.
        os._exit(code)
    # An error and the frames that it went through are a cycle: whatever those have open would
    # count as leaked.
    gc.collect()
    sys.exit(code)


def _is_watched() -> bool:
    """Whether somebody looks at what is left at the end: a profiler, coverage, `-X dev`, `-i`."""
    flags = sys.flags
    return bool(flags.dev_mode or flags.inspect or sys.getprofile() or sys.gettrace())


if __name__ == "__main__":
    main()
