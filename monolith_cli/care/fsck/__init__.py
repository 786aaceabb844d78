"""Whether a model directory is whole, and what is wrong with it: every finding.

`check` makes a `Judgement`; what is looked at is parted by what it is about.
"""

from monolith_cli.care.fsck.check import CheckOptions, check, newest_verified
from monolith_cli.care.fsck.judgement import DAMAGED, DOUBTFUL, FULL, QUICK, SOUND, Judgement

__all__ = [
    "DAMAGED",
    "DOUBTFUL",
    "FULL",
    "QUICK",
    "SOUND",
    "CheckOptions",
    "Judgement",
    "check",
    "newest_verified",
]
