"""Every protobuf message of the checkpoint formats, by name.

    from monolith_cli import messages

    entry = messages.EntryDump.FromString(record)
    messages.get_message("monolith.hash_table.EntryDump")

The classes are made on first use from `messages.binpb`, a descriptor set compiled from `protos/`.
They live in a descriptor pool of their own. So they never clash with a trainer's generated modules
for the same messages, nor with TensorFlow's, whichever is imported first; and they work with every
protobuf runtime since 3.20. The price is that a class from here is not the class of the same name
from there: hand over serialized bytes, not objects.

Importing this module does not import protobuf (about 30 ms); the first message does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor_pb2 import DescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

__all__ = ["get_message", "names"]

_lock = threading.Lock()
_pool: DescriptorPool | None = None  # kept alive as long as its classes
_classes: dict[str, type[Message]] = {}


def get_message(full_name: str) -> type[Message]:
    """The class of one message, such as `monolith.hash_table.EntryDump`.

    Nested ones follow their outer message: `monolith.hash_table.EntryConfig.Segment`. (As an
    attribute of the outer class they exist with some protobuf runtimes only.)

    Always the same class for the same name; safe to call from any thread.

    Raises
    ------
    KeyError
        There is no such message.
    """
    return _load()[full_name]


def names() -> list[str]:
    """The full names of all messages, sorted."""
    return sorted(_load())


def _load() -> dict[str, type[Message]]:
    global _pool
    with _lock:
        if not _classes:
            from google.protobuf.descriptor_pool import DescriptorPool

            _pool = DescriptorPool()
            _classes.update(_make_classes(_pool))
    return _classes


def _make_classes(pool: DescriptorPool) -> dict[str, type[Message]]:
    from pathlib import Path

    from google.protobuf import message_factory
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    stored = Path(__file__).with_name("messages.binpb").read_bytes()
    full_names: list[str] = []
    for file in FileDescriptorSet.FromString(stored).file:
        pool.AddSerializedFile(file.SerializeToString())
        full_names += _names_in(file.package, file.message_type)
    make = getattr(message_factory, "GetMessageClass", None)
    if make is None:  # protobuf before 4.22
        factory: Any = message_factory.MessageFactory(pool)
        make = factory.GetPrototype
    return {name: make(pool.FindMessageTypeByName(name)) for name in full_names}


def _names_in(scope: str, found: Iterable[DescriptorProto]) -> Iterator[str]:
    for message in found:
        if not message.options.map_entry:
            yield f"{scope}.{message.name}"
            yield from _names_in(f"{scope}.{message.name}", message.nested_type)


def __getattr__(name: str) -> Any:
    """The message whose name without its package is `name`; those short names are unique."""
    if name[:1].isupper():
        for full_name, message in _load().items():
            if _short_name(full_name) == name:
                globals()[name] = message  # so that this search happens once a name
                return message
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *filter(None, map(_short_name, _load()))])


def _short_name(full_name: str) -> str:
    """The name without its package, if the message is not nested in another, else nothing."""
    *scope, name = full_name.split(".")
    return "" if scope[-1][:1].isupper() else name
