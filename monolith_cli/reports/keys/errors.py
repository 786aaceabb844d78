"""Of what every command says under --json when it fails."""

from __future__ import annotations

from monolith_cli.reports.keys.declare import NUMBER, STRING, Key

ERROR = {
    "code": Key(NUMBER, "The exit code."),
    "kind": Key(STRING, "A name for programs."),
    "message": Key(STRING, "What is wrong, and what to do."),
    "file": Key(STRING, "The file or directory that it is about.", null="if it is about none"),
    "offset": Key(NUMBER, "The byte of that file.", null="if it is about none"),
}
"""In the object `error`."""
