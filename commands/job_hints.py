"""What a user of a command can do about an error of a running job, by the error's kind."""

from __future__ import annotations

JOB_HINTS: dict[str, tuple[tuple[str | None, str], ...]] = {
    "no_address": (
        ("via", "give --address, or ask with --via file"),
        ("address", "give --address if you know where it listens"),
    ),
    "nobody_listens": (("via", "--via file asks a job that runs on another host"),),
    "another_job": (
        (
            "address",
            "if it is that directory under another name, give its address as --address, and no"
            " MODEL_DIR",
        ),
    ),
    "original_job": (("via", "use --via file"),),
    "wants_tls": (("tls_ca", "give --tls-ca if the job uses TLS"),),
    "wants_certificate": (
        ("tls_cert", "give --tls-cert and --tls-key if the job asks for a client certificate"),
    ),
    "may_be_done": (
        ("via", "see 'monolith job status'"),
        (None, "see 'monolith barrier status'"),
    ),
    "session_ended": ((None, "see 'monolith job status'"),),
}
"""Of a kind: options, and advice for commands that have them; None: for all. The first counts."""
