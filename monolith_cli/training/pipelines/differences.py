"""How two fingerprints of input pipelines differ, in words. Needs no TensorFlow."""

from __future__ import annotations

import json
import posixpath
from collections import Counter
from difflib import SequenceMatcher
from typing import Any, NamedTuple

from monolith_cli.errors import StateFileError
from monolith_cli.formats.fingerprint import (
    AT_RUN_TIME,
    VERSION,
    InputFile,
    base_op,
    parse_fingerprint,
    relative_names,
    version_of,
)

__all__ = ["differences"]

_NAMED = 3
"""How many files, and nodes of one kind of difference, are named one by one."""

_LINES = 20
_CHARACTERS = 60
_FOLLOWING = {"output_shapes", "output_types"}
"""Parameters that follow from others, so they are reported only if nothing else differs."""


def differences(saved: Any, now: Any) -> list[str]:
    """What differs between two fingerprints, one line each, the most important first.

    Empty if nothing does. Files are compared by their order, names and sizes; the directory that
    holds all of them may differ. At most 20 lines. Takes about 2 ms for a pipeline of 1,000 files.

    Parameters
    ----------
    saved, now
        Results of `fingerprint`, or what JSON made of them. Anything else, and a fingerprint that
        a later version wrote, gives one line that says so; nothing is raised.
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


def _compare(saved: Any, now: Any) -> list[str]:
    pipelines = []
    for which, value in (("saved", saved), ("new", now)):
        version = version_of(value)
        if isinstance(version, int) and version != VERSION:
            return [f"the {which} fingerprint has version {version}: not compared"]
        try:
            pipelines.append(parse_fingerprint(value))
        except StateFileError:
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


# Files.


def _files(saved: list[InputFile | None] | None, now: list[InputFile | None] | None) -> list[str]:
    if saved is None or now is None:
        if saved is now:
            return []
        known = saved or now or []
        listed = _listed(relative_names(_paths(known))) or "none"
        return [
            f"the files were {AT_RUN_TIME}, are {listed}"
            if saved is None
            else f"the files were {listed}, are {AT_RUN_TIME}"
        ]
    was, is_ = _comparable(_paths(saved), _paths(now))
    return _other_names(was, is_) + _other_sizes(
        list(zip(was, (file and file.size_bytes for file in saved), strict=True)),
        list(zip(is_, (file and file.size_bytes for file in now), strict=True)),
    )


def _paths(files: list[InputFile | None]) -> list[str | None]:
    return [file and file.path for file in files]


def _comparable(saved: list[str | None], now: list[str | None]) -> tuple[list[str], list[str]]:
    """Names to compare by: paths, else those below a directory that moved, else the last parts."""
    both = relative_names([*saved, *now])
    ways = [
        (both[: len(saved)], both[len(saved) :]),
        (relative_names(saved), relative_names(now)),
    ]
    for was, is_ in ways:
        if (set(was) & set(is_)) - {AT_RUN_TIME}:
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
    return base_op(node["op"])


def _node_names(nodes: list[dict[str, Any]], within: str) -> list[str]:
    """The ops, numbered if one comes several times."""
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
