"""What two fingerprints of input pipelines differ in, in words. Needs no TensorFlow."""

from __future__ import annotations

import json
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any, NamedTuple

__all__ = ["VERSION", "differences", "relative_names"]

VERSION = 1
_NAMED = 3
"""Files, and nodes of one kind of difference, that are named one by one."""

_LINES = 20
_CHARACTERS = 60
_AT_RUN_TIME = "(known only at run time)"
_FOLLOWING = {"output_shapes", "output_types"}
"""Parameters that follow from others, hence told only where nothing else is."""


class _MalformedError(ValueError):
    pass


class _Pipeline(NamedTuple):
    nodes: list[dict[str, Any]]
    files: list[tuple[str | None, int | None]] | None
    patterns: list[str]
    outputs: list[Any]


def differences(saved: Any, now: Any) -> list[str]:
    """What is another than it was, a line each, most telling first; empty if nothing is.

    Files are compared by their order, names and sizes; the directory that holds all of them may be
    another. At most 20 lines. Takes about 2 ms for a pipeline of 1,000 files.

    Parameters
    ----------
    saved, now
        Results of `fingerprint`, or what JSON made of them. Anything else, and what a later
        version wrote, gives one line that says so; nothing is raised.
    """
    for which, value in (("saved", saved), ("new", now)):
        if not isinstance(value, dict):
            return [f"the {which} fingerprint is no fingerprint: nothing compared"]
    lines = [f"iterator {name} is gone" for name in saved if name not in now]
    lines += [f"iterator {name} is new" for name in now if name not in saved]
    common = [name for name in saved if name in now]
    for name in common:
        prefix = f"{name}: " if len(saved) > 1 or len(now) > 1 else ""
        lines += [prefix + line for line in _compare(saved[name], now[name])]
    if len(lines) > _LINES:
        lines[_LINES - 1 :] = [f"{len(lines) - _LINES + 1} more differences"]
    return lines


def relative_names(paths: Sequence[str | None]) -> list[str]:
    """The paths below the innermost directory that holds all of them."""
    known = [path for path in paths if path is not None]
    directory = posixpath.dirname(known[0]) if known else ""
    while directory and not all(path.startswith(_slash(directory)) for path in known):
        parent = posixpath.dirname(directory)
        directory = parent if parent != directory else ""
    start = len(_slash(directory)) if directory else 0
    return [_AT_RUN_TIME if path is None else path[start:] for path in paths]


def _slash(directory: str) -> str:
    return directory if directory.endswith("/") else directory + "/"


def _compare(saved: Any, now: Any) -> list[str]:
    pipelines = []
    for which, value in (("saved", saved), ("new", now)):
        version = value.get("version") if isinstance(value, dict) else None
        if isinstance(version, int) and version != VERSION:
            return [f"the {which} fingerprint has version {version}: not compared"]
        try:
            pipelines.append(_parse(value))
        except (_MalformedError, RecursionError):
            return [f"the {which} fingerprint is malformed: not compared"]
    old, new = pipelines
    lines = _files(old.files, new.files)
    was, is_ = relative_names(old.patterns), relative_names(new.patterns)
    if was != is_ and old.patterns and new.patterns:
        lines.append(f"the file pattern was {', '.join(was)}, is {', '.join(is_)}")
    told = _nodes(old.nodes, new.nodes, "")
    if not told.first and not told.then and old.outputs != new.outputs:
        told.then.append("the initializers of the iterator come in another order")
    lines += told.first + told.then
    return lines or told.last[:1]


def _parse(value: Any) -> _Pipeline:
    if not isinstance(value, dict) or value.get("version") != VERSION:
        raise _MalformedError
    patterns = value.get("patterns", [])
    if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
        raise _MalformedError
    outputs = value.get("outputs", [])
    if not isinstance(outputs, list):
        raise _MalformedError
    return _Pipeline(
        _parsed_nodes(value.get("nodes")), _parsed_files(value.get("files")), patterns, outputs
    )


def _parsed_files(value: Any) -> list[tuple[str | None, int | None]] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise _MalformedError
    files: list[tuple[str | None, int | None]] = []
    for file in value:
        if file is None:
            files.append((None, None))
            continue
        path = file.get("path") if isinstance(file, dict) else None
        size = file.get("bytes") if isinstance(file, dict) else None
        if not isinstance(path, str) or not (size is None or isinstance(size, int)):
            raise _MalformedError
        files.append((path, size))
    return files


def _parsed_nodes(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _MalformedError
    for node in value:
        parameters = node.get("parameters") if isinstance(node, dict) else None
        if not isinstance(parameters, dict) or not isinstance(node.get("op"), str):
            raise _MalformedError
        for parameter in parameters.values():
            if isinstance(parameter, dict) and "nodes" in parameter:
                _parsed_nodes(parameter["nodes"])
    return value


# Files.


def _files(
    saved: list[tuple[str | None, int | None]] | None,
    now: list[tuple[str | None, int | None]] | None,
) -> list[str]:
    if saved is None or now is None:
        if saved is now:
            return []
        known = saved or now or []
        listed = _listed(relative_names([path for path, _ in known])) or "none"
        return [
            f"the files were {_AT_RUN_TIME}, are {listed}"
            if saved is None
            else f"the files were {listed}, are {_AT_RUN_TIME}"
        ]
    was, is_ = _comparable([path for path, _ in saved], [path for path, _ in now])
    return _other_names(was, is_) + _other_sizes(
        list(zip(was, (size for _, size in saved), strict=True)),
        list(zip(is_, (size for _, size in now), strict=True)),
    )


def _comparable(saved: list[str | None], now: list[str | None]) -> tuple[list[str], list[str]]:
    """Names to compare by: paths, else those below a directory that moved, else the last parts."""
    both = relative_names([*saved, *now])
    ways = [
        (both[: len(saved)], both[len(saved) :]),
        (relative_names(saved), relative_names(now)),
    ]
    for was, is_ in ways:
        if (set(was) & set(is_)) - {_AT_RUN_TIME}:
            return was, is_
    was, is_ = ways[0]
    return [posixpath.basename(n) for n in was], [posixpath.basename(n) for n in is_]


def _other_names(was: list[str], is_: list[str]) -> list[str]:
    if was == is_:
        return []
    if is_[: len(was)] == was:
        return [_more(is_[len(was) :], "more")]
    if was[: len(is_)] == is_:
        return [_more(was[len(is_) :], "fewer")]
    places = [i for i, (a, b) in enumerate(zip(was, is_, strict=False)) if a != b]
    changed = [f"file {i + 1} was {was[i]}, is {is_[i]}" for i in places]
    gone, new = Counter(was) - Counter(is_), Counter(is_) - Counter(was)
    if not gone and not new:
        return [f"the files come in another order: {changed[0]}"]
    if len(was) == len(is_) and len(changed) <= _NAMED:
        return changed
    lines = changed[:1]
    if gone:
        lines.append(f"{_count(gone)} gone: {_listed(list(gone.elements()))}")
    if new:
        lines.append(f"{_count(new)} new: {_listed(list(new.elements()))}")
    return lines


def _other_sizes(
    saved: list[tuple[str, int | None]], now: list[tuple[str, int | None]]
) -> list[str]:
    sizes = dict(now)
    lines = []
    for name, size in dict(saved).items():
        is_ = sizes.get(name, size)
        if size is None or is_ == size:
            continue
        lines.append(
            f"file {name} had {size} bytes, is not there"
            if is_ is None
            else f"file {name} had {size} bytes, has {is_}"
        )
    if len(lines) > _NAMED:
        lines[_NAMED:] = [f"{len(lines) - _NAMED} more files have other sizes"]
    return lines


def _count(names: Counter[str]) -> str:
    count = sum(names.values())
    return "1 file is" if count == 1 else f"{count} files are"


def _more(names: list[str], word: str) -> str:
    return f"{len(names)} {word} file{'' if len(names) == 1 else 's'}: {_listed(names)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


# Nodes.


class _Told(NamedTuple):
    """Lines about nodes that came or went, about parameters, and about what only follows."""

    first: list[str]
    then: list[str]
    last: list[str]


def _nodes(saved: list[dict[str, Any]], now: list[dict[str, Any]], within: str) -> _Told:
    told = _Told([], [], [])
    was, is_ = [_base(node) for node in saved], [_base(node) for node in now]
    changes = SequenceMatcher(None, was, is_, autojunk=False).get_opcodes()
    old_names, new_names = _node_names(saved, within), _node_names(now, within)
    for kind, i, i_end, j, j_end in changes:
        if kind != "equal":
            told.first.extend(f"{name} is gone" for name in old_names[i:i_end])
            told.first.extend(f"{name} is new" for name in new_names[j:j_end])
            continue
        for old, new, name in zip(saved[i:i_end], now[j:j_end], new_names[j:j_end], strict=True):
            _parameters(old, new, name, told)
            if was == is_ and old.get("inputs") != new.get("inputs"):
                told.first.append(f"{name} has other inputs")
    return told


def _base(node: dict[str, Any]) -> str:
    return re.sub(r"V\d+$", "", node["op"])


def _node_names(nodes: list[dict[str, Any]], within: str) -> list[str]:
    """The ops, told apart by their places where one comes several times."""
    total = Counter(node["op"] for node in nodes)
    seen: Counter[str] = Counter()
    names = []
    for node in nodes:
        op = node["op"]
        seen[op] += 1
        which = f" ({seen[op]} of {total[op]})" if total[op] > 1 else ""
        names.append(f"{op}{which}{within}")
    return names


def _parameters(old: dict[str, Any], new: dict[str, Any], name: str, told: _Told) -> None:
    saved, now = old["parameters"], new["parameters"]
    for key in [*saved, *(key for key in now if key not in saved)]:
        was, is_ = saved.get(key), now.get(key)
        if was == is_:
            continue
        if _has_nodes(was) and _has_nodes(is_):
            inner = _nodes(was["nodes"], is_["nodes"], f" in the function of {name}")
            told.first.extend(inner.first)
            told.then.extend(inner.then)
            told.last.extend(inner.last)
            continue
        told_in = told.last if key in _FOLLOWING else told.then
        what = _what(key, name)
        if _is_function(was) or _is_function(is_):
            told_in.append(f"{what} is another one")
        elif _is_list(was) and _is_list(is_) and len(was) == len(is_):
            pairs = [(a, b) for a, b in zip(was, is_, strict=True) if a != b]
            told_in.extend(f"{what} {_change(a, b)}" for a, b in pairs[:_NAMED])
        else:
            told_in.append(f"{what} {_change(was, is_)}")


def _what(key: str, name: str) -> str:
    if key in ("f", "predicate"):
        return f"the function of {name}"
    if key == "other_arguments":
        return f"a value that the function of {name} captures"
    return f"{key} of {name}"


def _has_nodes(value: Any) -> bool:
    return isinstance(value, dict) and "nodes" in value


def _is_function(value: Any) -> bool:
    return isinstance(value, dict) and ("function" in value or "nodes" in value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _change(was: Any, is_: Any) -> str:
    if isinstance(was, dict) and isinstance(is_, dict) and _shown(was) == _shown(is_):
        return "is another one"
    return f"was {_shown(was)}, is {_shown(is_)}"


def _shown(value: Any) -> str:
    if value is None:
        return "the default"
    if isinstance(value, dict):
        if "computed" in value:
            return f"computed by {value['computed']}"
        if "files" in value:
            return "the files' names"
        if "dtype" in value:
            return f"an array {value['dtype']}{value.get('shape', '')}"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _CHARACTERS else text[:_CHARACTERS] + "…"
