"""The keys of conditions, in what commands with `--fail-if` print."""

from __future__ import annotations

from monolith_cli.reports.keys.declare import BOOLEAN, NUMBER, OBJECTS, STRING, Key

__all__ = ["CONDITIONS"]

CONDITIONS = Key(
    OBJECTS,
    "The conditions of --fail-if.",
    keys={
        "condition": Key(STRING, "As it was given."),
        "holds": Key(BOOLEAN, "Whether it holds.", null="if it could not be checked"),
        "held": Key(
            OBJECTS,
            "All that it holds for.",
            keys={
                "what": Key(STRING, "Such as slot[3].entries."),
                "value": Key(NUMBER, "What was measured.", null="if it is not finite"),
                "before": Key(
                    NUMBER, "What was measured before.", null="if the condition is of no change"
                ),
                "change": Key(
                    NUMBER,
                    "The change, in percent if the condition is; of what came from nothing null.",
                    null="if the condition is of no change",
                ),
            },
        ),
    },
)
