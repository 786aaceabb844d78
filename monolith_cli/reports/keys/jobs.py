"""Of what talks to running jobs: `barrier …` and `job …`."""

from __future__ import annotations

from collections.abc import Mapping

from monolith_cli.reports.keys.declare import (
    BOOLEAN,
    LINES,
    NUMBER,
    NUMBERS,
    OBJECT,
    ONE,
    STRING,
    Key,
    Output,
)
from monolith_cli.reports.keys.errors import ERROR

UNTOLD = "if the job does not say, as with an original job"

BARRIER = {
    "placed": Key(BOOLEAN, "Whether the barrier is placed."),
    "action": Key(STRING, 'What workers do there: "Save" during a save, else empty.', null=UNTOLD),
    "reason": Key(STRING, "Why it was placed.", null=UNTOLD),
    "owner": Key(STRING, "Who placed it, empty if that is not known.", null=UNTOLD),
    "placed_seconds_ago": Key(
        NUMBER,
        "How long ago.",
        null=f"{UNTOLD}; and if it is not placed, or only by the job for a save",
    ),
    "expires_in_seconds": Key(
        NUMBER, "In how many seconds it ends by itself.", null="if it does not"
    ),
    "blocked": Key(NUMBERS, "The workers, from 1, that stand at the barrier."),
    "unblocked": Key(NUMBERS, "The other workers."),
    "global_step": Key(NUMBER, "The job's global step."),
    "address": Key(STRING, "Where the job listens."),
}

STATUS = {
    "address": Key(STRING, "Where the job listens."),
    "model_dir": Key(STRING, "Where it saves.", null=UNTOLD),
    "run_id": Key(STRING, "A text that is another one for each session of the chief.", null=UNTOLD),
    "global_step": Key(NUMBER, "The job's global step."),
    "last_saved_step": Key(
        NUMBER, "The latest committed step.", null=f"if there is none, or {UNTOLD}"
    ),
    "saving": Key(BOOLEAN, "Whether a save is going on.", null=UNTOLD),
    "workers": Key(NUMBER, "How many workers there are, the chief not counted."),
    "placed": Key(BOOLEAN, "Whether the barrier is placed."),
}

SAVED = {
    "step": Key(NUMBER, "The committed step.", null="where it is not known"),
    "path": Key(
        STRING, "The absolute path of its files, without suffix.", null="where it is not known"
    ),
    "finished_workers": Key(
        NUMBERS,
        "The workers whose input was saved with it, 0 being the chief.",
        null="if the job does not say",
    ),
    "unfinished_workers": Key(NUMBERS, "The other workers.", null="if the job does not say"),
}

STOPPED = {
    "via": Key(STRING, 'How the job was asked: "port" or "file".'),
    "address": Key(STRING, "Where the job listens.", null="by a file"),
    "run_id": Key(
        STRING,
        "The session that will end, as 'job status' has it.",
        null=f"by a file, and {UNTOLD}",
    ),
    "global_step": Key(NUMBER, "The job's global step when it was asked.", null="by a file"),
}

LOG = {
    "time": Key(STRING, "When, in UTC.", null="in a line that does not say"),
    "method": Key(
        STRING,
        "What was asked for: a method of the Controller service, or an action of the action file."
        " ExpireBarrier: a time-to-live has ended.",
        null="for many calls at once, or an action that is not known",
    ),
    "owner": Key(
        STRING,
        "By whom, as they say.",
        null="for calls that were refused because of their token",
    ),
    "peer": Key(
        STRING,
        'From which address; "file" for the action file.',
        null="for what nobody has asked for",
    ),
    "reason": Key(STRING, "Why.", null="if nobody has said"),
    "result": Key(STRING, '"done", or what was answered.', null="in a line that does not say"),
    "holder": Key(
        STRING, "Who had placed a barrier that was removed by force.", null="for all else"
    ),
}

HELD = {"error": Key(OBJECT, "What has gone wrong.", keys=ERROR)}

ONE_OBJECT = "With --json the output is one object with these keys:"
THEN = "With --json the output is one object, the barrier's state afterwards:"

OUTPUTS: Mapping[str, tuple[Output, ...]] = {
    "barrier place": (Output(ONE_OBJECT, ONE, BARRIER),),
    "barrier remove": (Output(THEN, ONE, BARRIER),),
    "barrier status": (Output(ONE_OBJECT, ONE, BARRIER),),
    "barrier wait": (Output(THEN, ONE, BARRIER),),
    "barrier hold": (
        Output(
            "Standard output is the command's own. With --json this command's error, if there is"
            " one, is an object on standard error with these keys:",
            ONE,
            HELD,
            on_stderr=True,
        ),
    ),
    "job status": (Output(ONE_OBJECT, ONE, STATUS),),
    "job save": (Output(ONE_OBJECT, ONE, SAVED),),
    "job stop": (Output(ONE_OBJECT, ONE, STOPPED),),
    "job log": (
        Output(
            "With --json each line is an object with these keys. Of many calls in a minute that"
            " were refused because of their token only the first five have a line each:",
            LINES,
            LOG,
        ),
    ),
}
