"""Kill commands that move, remove and write steps, and see what they leave, and what becomes of it.

    python tests/support/chaos_commands.py [--kills 225] [--seed 1] [--entries 5000]

Each kill is a -9 of a real process. Two of three come at a change: a new file, a rename, a link, a
removal, each in its turn, all over what the command does. The others come at random times. After
each one what must stay is looked at, and the same command line is run again: what there is then is
compared with what an undisturbed run leaves, byte for byte. Prints a table; `make chaos` runs it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

from kept_support import write_kept  # noqa: E402
from kill_cases import CASES, Place  # noqa: E402
from killing import KILLED, count_changes, killed_after, killed_at  # noqa: E402

HEADER = """\
| command | changes | kills at a change | at any time | nothing was done yet | in the middle | \
all was done |
|---|---:|---:|---:|---:|---:|---:|"""


class Tally:
    """What came of the kills of one command line."""

    def __init__(self, place: Place, kills: int, chance: random.Random, scratch: Path) -> None:
        self.place = place
        self.untouched = self.halfway = self.done = 0
        place.prepare()
        self.changes, self._seconds, ended = count_changes(scratch, *place.words)
        assert ended.returncode == 0, ended
        place.assert_finished()
        self.at_changes = 2 * kills // 3
        self.at_any_time = kills - self.at_changes
        for i in range(self.at_changes):
            # All over it; where there are more kills than changes, again and again.
            first = i * self.changes // self.at_changes
            self._look(killed_at, 1 + (first + chance.randrange(self._step)) % self.changes)
        for _ in range(self.at_any_time):
            while not self._look(killed_after, chance.uniform(0, self._seconds)):
                pass  # it had come to its end before

    @property
    def _step(self) -> int:
        return max(1, self.changes // self.at_changes)

    def _look(self, kill: object, when: float) -> bool:
        assert callable(kill)
        self.place.prepare()
        if kill(when, *self.place.words).returncode != KILLED:
            return False
        self.place.check()
        if self.place.is_untouched:
            self.untouched += 1
        elif self.place.is_finished:
            self.done += 1
        else:
            self.halfway += 1
        self.place.finish()
        return True

    @property
    def line(self) -> str:
        """A row of the table."""
        command = self.place.case.arguments.format(dir="MODEL_DIR", new="NEW")
        numbers = (
            self.changes,
            self.at_changes,
            self.at_any_time,
            self.untouched,
            self.halfway,
            self.done,
        )
        return f"| `{command}` | {' | '.join(map(str, numbers))} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--kills", type=int, default=225, help="in all (225)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--entries", type=int, default=5000, help="of a table (5000)")
    parser.add_argument("--only", choices=list(CASES), action="append", help="all")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    names = options.only or list(CASES)
    began = time.monotonic()
    print(HEADER, flush=True)
    kills = 0
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        origin = write_kept(Path(directory) / "origin", entries=options.entries)
        for i, name in enumerate(names):
            scratch = Path(directory) / name
            scratch.mkdir()
            share = (i + 1) * options.kills // len(names) - i * options.kills // len(names)
            tally = Tally(Place(CASES[name], origin, scratch), share, chance, scratch)
            kills += tally.untouched + tally.halfway + tally.done
            print(tally.line, flush=True)
    seconds = time.monotonic() - began
    print(f"\n{kills} kills in {seconds:.0f} s: nothing that was to stay was lost or changed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
