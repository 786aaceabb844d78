"""Compile the .proto files of this folder into `monolith_cli/messages.binpb`.

    python protos/generate.py           writes the file
    python protos/generate.py --check   writes nothing, exits 1 when the file is stale

The file is a FileDescriptorSet. It needs a compiler only here: grpcio-tools, or else a `protoc` on
the PATH. What the package reads at run time works with every protobuf runtime.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

SOURCES = Path(__file__).resolve().parent
TARGET = SOURCES.parent / "monolith_cli" / "messages.binpb"


def compiler() -> list[str]:
    """The command line of a protobuf compiler; empty where there is none."""
    if find_spec("grpc_tools") is not None:
        return [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc"]
    protoc = shutil.which("protoc")
    return [] if protoc is None else [protoc]


def compile_protos(sources: Path = SOURCES) -> FileDescriptorSet:
    """The descriptors of every .proto file in `sources`, a file after those that it imports."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    command = compiler()
    if not command:
        raise SystemExit("neither grpcio-tools nor protoc is installed")
    names = sorted(path.name for path in sources.glob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "messages.binpb"
        subprocess.run(
            [*command, f"-I{sources}", f"--descriptor_set_out={out}", "--include_imports", *names],
            check=True,
        )
        return normalised(FileDescriptorSet.FromString(out.read_bytes()))


def normalised(files: FileDescriptorSet) -> FileDescriptorSet:
    """A copy without what differs between compilers but not between messages.

    That is source positions, JSON names (which follow from the field names), and fields of
    descriptor.proto that the running protobuf does not know.
    """
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    def strip(message: DescriptorProto) -> None:
        for field in message.field:
            field.ClearField("json_name")
        for nested in message.nested_type:
            strip(nested)

    result = FileDescriptorSet.FromString(files.SerializeToString())
    for file in result.file:
        file.ClearField("source_code_info")
        for message in file.message_type:
            strip(message)
    result.DiscardUnknownFields()
    return result


def same(left: FileDescriptorSet, right: FileDescriptorSet) -> bool:
    """Whether both sets define the same files, in whatever order."""
    return {file.name: file for file in normalised(left).file} == {
        file.name: file for file in normalised(right).file
    }


def main(arguments: list[str]) -> int:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    fresh = compile_protos()
    if not arguments:
        TARGET.write_bytes(fresh.SerializeToString(deterministic=True))
        return 0
    if TARGET.exists() and same(fresh, FileDescriptorSet.FromString(TARGET.read_bytes())):
        return 0
    print(f"{TARGET} is stale: run python protos/generate.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
