"""The process that builds a dataset and shows its next elements.

    python -m monolith_cli.training.inputs.peek ORDER

`monolith_cli.iterators.peek` starts it with an order, which is JSON, and reads what it writes to
standard output.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any

from monolith_cli.errors import (
    CorruptionError,
    DatasetError,
    MonolithError,
    NotReadableError,
    PathNotFoundError,
)
from monolith_cli.iterators.peek import Told
from monolith_cli.iterators.resume import SavedInput

_OF_CHECKPOINT = ".ATTRIBUTES/"


class Teller:
    """Sends messages to the process that has started this one."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def tell(self, kind: Told, what: Any) -> None:
        """Send a message, as soon as something is known."""
        self.tell_json(kind, json.dumps(what))

    def tell_json(self, kind: Told, text: str) -> None:
        """As `tell`, with something that is JSON already."""
        self._stream.write(f"{kind.value} {text}\n")
        self._stream.flush()


def main() -> None:
    order = json.loads(sys.argv[1])
    # What the function prints is not an element.
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    code = 1
    try:
        run(order, Teller(stream))
        code = 0
    except MonolithError as error:
        if order["debug"]:
            traceback.print_exc()
        failure = {
            "class": type(error).__name__,
            "what": error.what,
            "path": error.path,
            "offset": error.offset,
            "hint": error.hint,
            "kind": error.kind,
        }
        Teller(stream).tell(Told.FAILURE, failure)
    except BrokenPipeError:
        pass  # nobody reads any more
    except BaseException:
        traceback.print_exc()
    finally:
        # Threads of TensorFlow, or of the function, are not waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(order: dict[str, Any], teller: Teller) -> None:
    """Do what the order says."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # a job may need all of the GPU's memory
    sys.path.insert(0, os.getcwd())
    with said_only_on_failure():
        try:
            import tensorflow as tf
        except Exception as error:
            raise DatasetError(f"TensorFlow cannot be imported: {_reason(error)}") from error
    tf.get_logger().setLevel("ERROR")

    from monolith_cli.training.pipelines.elements import ElementWriter

    saved = SavedInput(order["worker"], order["step"], order["prefix"])
    writer = ElementWriter(number_ids=order["number_ids"])
    if _OF_CHECKPOINT in _tensor_name(order):
        count, has_ended = in_eager_mode(order, saved, writer, teller)
    else:
        count, has_ended = in_graph(order, saved, writer, teller)
    done = {"elements": count, "has_ended": has_ended, "non_finite": writer.non_finite}
    teller.tell(Told.DONE, done)


def in_graph(
    order: dict[str, Any], saved: SavedInput, writer: Any, teller: Teller
) -> tuple[int, bool]:
    """Show elements as a session computes them. Returns how many, and whether the input ended."""
    import tensorflow as tf

    from monolith_cli.training.inputs.restore import restore_saved
    from monolith_cli.training.pipelines.elements import leaves

    v1 = tf.compat.v1
    function = load(order)
    with tf.Graph().as_default() as graph:
        dataset = build(function, order)
        graph.clear_collection("iterators")  # that the function has made
        with describing("the dataset cannot be iterated over"):
            iterator = v1.data.make_initializable_iterator(dataset)
        element = iterator.get_next()
        parts = leaves(element)
        shown = [part for part in parts if _is_fetched(part)]
        setup = [
            v1.global_variables_initializer(),
            v1.local_variables_initializer(),
            v1.tables_initializer(),
        ]
        with v1.Session() as session:
            with describing("the dataset cannot be iterated over"):
                session.run(setup)
                session.run(iterator.initializer)
            restore(restore_saved, session, saved, order, teller)
            for number in range(order["count"]):
                try:
                    with computing(number):
                        values = iter(session.run(shown))
                except tf.errors.OutOfRangeError:
                    return number, True
                everything = [next(values) if _is_fetched(part) else part for part in parts]
                teller.tell_json(Told.ELEMENT, writer.write(element, everything))
    return order["count"], False


def in_eager_mode(
    order: dict[str, Any], saved: SavedInput, writer: Any, teller: Teller
) -> tuple[int, bool]:
    """As `in_graph`, in eager mode."""
    from monolith_cli.training.inputs.restore import restore_saved
    from monolith_cli.training.pipelines.elements import leaves

    dataset = build(load(order), order)
    with describing("the dataset cannot be iterated over"):
        iterator = iter(dataset)
    restore(restore_saved, iterator, saved, order, teller)
    for number in range(order["count"]):
        try:
            with computing(number):
                element = next(iterator)
        except StopIteration:
            return number, True
        teller.tell_json(Told.ELEMENT, writer.write(element, leaves(element)))
    return order["count"], False


def restore(
    restore_saved: Any, target: Any, saved: SavedInput, order: dict[str, Any], teller: Teller
) -> None:
    """Restore the state, and say what differs."""
    is_compared = restore_saved(
        target,
        saved,
        name=order["iterator"],
        warn=lambda text: teller.tell(Told.WARNING, text),
    )
    if not is_compared:
        text = (
            "there is no fingerprint of the input that was saved: whether this dataset is the"
            " same one, with its files and parameters, is not known"
        )
        teller.tell(Told.NOTE, text)


def load(order: dict[str, Any]) -> Any:
    """The function that builds the dataset."""
    module, path = order["module"], order["function"]
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise _raised(f"module {module}", error) from error
        raise DatasetError(
            f"there is no module {error.name}",
            hint="modules are looked for in the current directory, in PYTHONPATH, and among those"
            " installed beside this tool",
        ) from error
    except (Exception, SystemExit) as error:
        raise _raised(f"module {module}", error) from error
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise DatasetError(f"module {module} has no {path}") from error
    if not callable(found):
        raise DatasetError(f"{module}:{path} is a {type(found).__name__}, not a function")
    return found


def build(function: Any, order: dict[str, Any]) -> Any:
    """The dataset."""
    import tensorflow as tf

    name = f"{order['module']}:{order['function']}"
    arguments, named = _arguments(name, function, order["worker"])
    try:
        dataset = function(*arguments, **named)
    except (Exception, SystemExit) as error:
        raise _raised(name, error) from error
    if not isinstance(dataset, tf.data.Dataset):
        what = f"{name} returns a {type(dataset).__name__}, not a tf.data.Dataset"
        raise DatasetError(what)
    return dataset


def _arguments(name: str, function: Any, worker: int | None) -> tuple[list[Any], dict[str, Any]]:
    """The worker, if the function takes it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # it is not written in Python
        return [], {}
    needed = [
        p
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    takes = [p for p in parameters if p.name == "worker" and p.kind != p.POSITIONAL_ONLY]
    others = [p.name for p in needed if p not in takes]
    if len(others) > (0 if takes else 1):
        raise DatasetError(
            f"{name} needs {', '.join(p.name for p in needed)}",
            hint="give a function that needs nothing, or the worker's index alone",
        )
    if not takes and not needed:
        return [], {}
    if worker is None:
        if not needed:
            return [], {}
        raise DatasetError(f"{name} needs a worker, and the state's name has none")
    if takes:
        return [], {"worker": worker}
    if needed[0].kind == inspect.Parameter.KEYWORD_ONLY:
        return [], {needed[0].name: worker}
    return [worker], {}


@contextlib.contextmanager
def describing(what: str) -> Iterator[None]:
    """Turn errors of TensorFlow into those of this package."""
    import tensorflow as tf

    from monolith_cli.training.inputs.state import reason_of

    try:
        yield
    except tf.errors.OpError as error:
        raise DatasetError(f"{what}: {_line(reason_of(error))}") from error
    except Exception as error:
        raise DatasetError(f"{what}: {_reason(error)}") from error


@contextlib.contextmanager
def computing(number: int) -> Iterator[None]:
    """As `describing`, while an element is computed; the end of the input is passed on."""
    import tensorflow as tf

    from monolith_cli.training.inputs.state import reason_of

    try:
        yield
    except (tf.errors.OutOfRangeError, StopIteration):
        raise
    except tf.errors.OpError as error:
        kinds = {
            tf.errors.DataLossError: CorruptionError,
            tf.errors.NotFoundError: PathNotFoundError,
            tf.errors.PermissionDeniedError: NotReadableError,
        }
        kind = kinds.get(type(error), DatasetError)
        what = f"the element after {number} cannot be computed: {_line(reason_of(error))}"
        raise kind(what) from error


@contextlib.contextmanager
def said_only_on_failure() -> Iterator[None]:
    """Keep what is written to standard error, and show it if something is raised."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        before = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            kept.seek(0)
            os.write(before, kept.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)


def _tensor_name(order: dict[str, Any]) -> str:
    from monolith_cli.iterators.resume import read_iterators

    return read_iterators(order["prefix"])[order["iterator"]]


def _is_fetched(part: Any) -> bool:
    """Whether a session can fetch its value."""
    import tensorflow as tf

    if isinstance(part, (tf.SparseTensor, tf.RaggedTensor)):
        return True
    return isinstance(part, tf.Tensor) and part.dtype not in (tf.variant, tf.resource)


def _raised(name: str, error: BaseException) -> DatasetError:
    place = _place(error.__traceback__)
    return DatasetError(f"{name} raises {_reason(error)}{place}")


def _place(trace: TracebackType | None) -> str:
    """Where it was raised: the innermost line that is not in a library."""
    frames = [f for f in traceback.extract_tb(trace) if _is_users(f.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_users(path: str) -> bool:
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    libraries = (own + os.sep, os.path.dirname(os.__file__) + os.sep)
    return not path.startswith(("<", *libraries)) and f"{os.sep}site-packages{os.sep}" not in path


def _reason(error: BaseException) -> str:
    return _line(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _line(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= 400 else shown[:400] + "..."


if __name__ == "__main__":
    main()
