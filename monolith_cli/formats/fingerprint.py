"""Fingerprints of input pipelines, as JSON: what is written of one, and what it says when read.

A document is what `monolith_cli.training.fingerprint` shows. `ckpt.inputs-<step>` holds those of
each worker by the names of its iterators, and barriers carry them from workers to the chief. Those
who make one know TensorFlow; this module needs none.

Nodes are kept as they are in JSON, `{"op", "parameters"}` and perhaps `inputs`, sources first: what
their parameters mean is for readers to say. A parameter that is `{"nodes": [...]}` is the pipeline
inside a function.
"""

from __future__ import annotations

import json
import posixpath
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from monolith_cli.errors import StateFileError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AT_RUN_TIME",
    "VERSION",
    "Fingerprint",
    "InputFile",
    "base_op",
    "format_fingerprint",
    "parse_files",
    "parse_fingerprint",
    "parse_nodes",
    "relative_names",
    "version_of",
]

VERSION = 1
AT_RUN_TIME = "(known only at run time)"
"""In place of a file's name."""


class InputFile(NamedTuple):
    """A file of a pipeline; its size in bytes, None if it was not there."""

    path: str
    size_bytes: int | None


class Fingerprint(NamedTuple):
    """What a document says.

    Attributes
    ----------
    nodes
        As they are in JSON.
    files
        Those read, in order; None in place of one that is known only at run time, and in place of
        all where none is known.
    patterns
        By which files are found, if they are found by patterns.
    outputs
        The places of the datasets of an iterator that has several initializers; else empty.
    """

    nodes: list[dict[str, Any]]
    files: list[InputFile | None] | None
    patterns: list[str]
    outputs: list[Any]


def format_fingerprint(fingerprint: Fingerprint) -> dict[str, Any]:
    """The document, with its digest: 16 hex digits, of nodes and names of files.

    Versions of ops are not in the digest, nor are sizes of files, or the directory of all of them.
    """
    from hashlib import sha256

    nodes, files, patterns, outputs = fingerprint
    names = relative_names([file and file.path for file in files or ()])
    seen = json.dumps([_unversioned(nodes), outputs, names], sort_keys=True)
    document: dict[str, Any] = {
        "version": VERSION,
        "digest": sha256(seen.encode()).hexdigest()[:16],
        "files": None,
        "nodes": nodes,
    }
    if nodes and files is not None and (not files or any(files)):
        document["files"] = [file and {"path": file.path, "bytes": file[1]} for file in files]
    if patterns:
        document["patterns"] = patterns
    if len(outputs) > 1:
        document["outputs"] = outputs
    return document


def version_of(document: Any) -> Any:
    """The version that a document names, `VERSION` if it can be read here; None for none."""
    return document.get("version") if isinstance(document, dict) else None


def parse_fingerprint(document: Any) -> Fingerprint:
    """What a document says. More keys are fine.

    Raises
    ------
    StateFileError
        It has another version, or is malformed.
    """
    if version_of(document) != VERSION:
        raise StateFileError("not a fingerprint of a known version")
    patterns, outputs = document.get("patterns", []), document.get("outputs", [])
    if not isinstance(patterns, list) or not all(isinstance(each, str) for each in patterns):
        raise StateFileError("malformed fingerprint: the patterns are not a list of strings")
    if not isinstance(outputs, list):
        raise StateFileError("malformed fingerprint: the outputs are not a list")
    nodes, files = document.get("nodes"), document.get("files")
    return Fingerprint(parse_nodes(nodes), parse_files(files), patterns, outputs)


def parse_nodes(value: Any) -> list[dict[str, Any]]:
    """The `nodes` of a document, those inside functions too. Raises as `parse_fingerprint`."""
    try:
        return _checked_nodes(value)
    except RecursionError as error:
        raise StateFileError("malformed fingerprint: functions are nested too deeply") from error


def parse_files(value: Any) -> list[InputFile | None] | None:
    """The `files` of a document. Raises as `parse_fingerprint`."""
    if value is None:
        return None
    if not isinstance(value, list):
        raise StateFileError("malformed fingerprint: the files are not a list")
    return [None if file is None else _parsed_file(file) for file in value]


def base_op(op: str) -> str:
    """An op's name without its version: `BatchDataset` of `BatchDatasetV2`."""
    return re.sub(r"V[0-9]+$", "", op)


def relative_names(paths: Sequence[str | None]) -> list[str]:
    """The paths below the innermost directory that holds all of them."""
    known = [path for path in paths if path is not None]
    directory = posixpath.dirname(known[0]) if known else ""
    while directory and not all(path.startswith(_slash(directory)) for path in known):
        parent = posixpath.dirname(directory)
        directory = parent if parent != directory else ""
    start = len(_slash(directory)) if directory else 0
    return [AT_RUN_TIME if path is None else path[start:] for path in paths]


def _slash(directory: str) -> str:
    return directory if directory.endswith("/") else directory + "/"


def _checked_nodes(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise StateFileError("malformed fingerprint: the nodes are not a list")
    for node in value:
        parameters = node.get("parameters") if isinstance(node, dict) else None
        if not isinstance(parameters, dict) or not isinstance(node.get("op"), str):
            raise StateFileError("malformed fingerprint: a node without an op or parameters")
        for parameter in parameters.values():
            if isinstance(parameter, dict) and "nodes" in parameter:
                _checked_nodes(parameter["nodes"])
    return value


def _parsed_file(file: Any) -> InputFile:
    path = file.get("path") if isinstance(file, dict) else None
    size = file.get("bytes") if isinstance(file, dict) else None
    if not isinstance(path, str) or not (size is None or isinstance(size, int)):
        raise StateFileError("malformed fingerprint: a file without a path, or with a bad size")
    return InputFile(path, size)


def _unversioned(value: Any) -> Any:
    """The nodes, without the versions of their ops."""
    if isinstance(value, list):
        return [_unversioned(item) for item in value]
    if isinstance(value, dict):
        return {
            key: base_op(item) if key == "op" and isinstance(item, str) else _unversioned(item)
            for key, item in value.items()
        }
    return value
