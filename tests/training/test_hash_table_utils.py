"""Pages of tables in a graph: every kind of table by the same tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_support
from dump_support import random_entries, write_model_dir

from monolith_cli import messages, open_model_dir, open_tables
from monolith_cli.errors import UsageError


@pytest.fixture
def tf() -> Iterator[Any]:
    """TensorFlow, with a new graph as the default."""
    tensorflow = tf_support.tensorflow()
    with tensorflow.Graph().as_default():
        yield tensorflow


class Pages:
    """A foreign table in graph form: constant entries, an offset that is 7 * the index + 3."""

    def __init__(self, tf: Any, entries: list[bytes]) -> None:
        self.entries = tf.constant(entries, tf.string, [len(entries)])
        self.table = tf.constant(0)
        self.tf = tf

    def save_as_tensor(self, shard_idx: Any, num_shards: Any, limit: Any, offset: Any) -> Any:
        tf = self.tf
        size = tf.cast(tf.size(self.entries), tf.int64)
        shard, shards = tf.cast(shard_idx, tf.int64), tf.cast(num_shards, tf.int64)
        low, high = size * shard // shards, size * (shard + 1) // shards
        start = tf.maximum(low, (offset - 3) // 7)
        stop = tf.minimum(high, start + tf.cast(limit, tf.int64))
        return 7 * tf.maximum(stop, start) + 3, self.entries[start : tf.maximum(stop, start)]


class Lists:
    """A foreign table in the offline form."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries

    def save_as_tensor(
        self, shard_idx: int, num_shards: int, limit: int, offset: int
    ) -> tuple[int, list[bytes]]:
        assert type(offset) is type(limit) is int
        own = self.entries[shard_idx::num_shards]
        start = max(offset - 1, 0)
        return start + len(own[start : start + limit]) + 1, own[start : start + limit]


def our_table(tf: Any, entries: list[bytes], tmp_path: Path) -> Any:
    from monolith_cli.training.hash_table import HashTable

    parsed = [messages.EntryDump.FromString(entry) for entry in entries]
    table = HashTable("ours", 2)
    return table.assign(
        np.array([entry.id for entry in parsed], np.int64),
        np.array([entry.num for entry in parsed], np.float32).reshape(-1, 2),
        np.array([entry.last_update_ts_sec for entry in parsed], np.int64),
    )


def dump_table(tf: Any, entries: list[bytes], tmp_path: Path) -> Any:
    write_model_dir(tmp_path / "m", singles={"t": entries}, shards=3)
    [table] = open_tables(open_model_dir(tmp_path / "m").checkpoint())
    return table


def multi_dump_table(tf: Any, entries: list[bytes], tmp_path: Path) -> Any:
    others = random_entries(8, 5)
    write_model_dir(tmp_path / "m", multis={"f": {"a": others, "t": entries, "z": others}})
    [table] = open_tables(open_model_dir(tmp_path / "m").checkpoint(), ["t"])
    return table


def offline_table(tf: Any, entries: list[bytes], tmp_path: Path) -> Any:
    from monolith_cli.training.hash_table_utils import OfflineTable

    return OfflineTable(Lists(entries))


Make = Callable[[Any, list[bytes], Path], Any]
TABLES: dict[str, Make] = {
    "ours": our_table,
    "foreign": lambda tf, entries, _: Pages(tf, entries),
    "foreign-lists": offline_table,
    "dump": dump_table,
    "multi-dump": multi_dump_table,
}


@pytest.fixture(params=TABLES)
def make(request: pytest.FixtureRequest, tf: Any, tmp_path: Path) -> Callable[[list[bytes]], Any]:
    return lambda entries: TABLES[request.param](tf, entries, tmp_path)


def some_entries(count: int) -> list[bytes]:
    return random_entries(3, count, segments=(("", 2),))


def iterate(tf: Any, table: Any, **arguments: Any) -> tuple[int, list[list[bytes]]]:
    """What iterate_table_and_apply returns in a session, and the pages that the function saw."""
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    seen: list[list[bytes]] = []

    def note(page: Any) -> None:
        seen.append(list(page))

    total = iterate_table_and_apply(
        table, lambda dump: tf.numpy_function(note, [dump], []), **arguments
    )
    with tf.compat.v1.Session() as session:
        return int(session.run(total)), seen


def graph_form(table: Any) -> Any:
    """The one adapter: a table of either form as one of tensors."""
    from monolith_cli.tables.paged import PagedTable
    from monolith_cli.training.hash_table_utils import OfflineTable

    return OfflineTable(table) if isinstance(table, PagedTable) else table


# --- shards and cursors, whatever the table ---------------------------------------------------


@pytest.mark.parametrize("count", [0, 3, 8, 100])
@pytest.mark.parametrize(("limit", "nshards"), [(1, 1), (4, 2), (1000, 4), (25, 4)])
def test_every_entry_once(
    tf: Any, make: Callable[[list[bytes]], Any], count: int, limit: int, nshards: int
) -> None:
    entries = some_entries(count)
    total, pages = iterate(tf, make(entries), limit=limit, nshards=nshards)
    assert total == count
    assert Counter(entry for page in pages for entry in page) == Counter(entries)
    assert max(len(page) for page in pages) <= limit
    # A shard whose size is a multiple of the limit ends with an empty page.
    sizes = Counter(len(page) for page in pages)
    assert sum(sizes.values()) - sizes[limit] == nshards


@pytest.mark.parametrize("nshards", [1, 3, 7])
def test_the_protocol(tf: Any, make: Callable[[list[bytes]], Any], nshards: int) -> None:
    entries = some_entries(23)
    table = graph_form(make(entries))
    places = [tf.compat.v1.placeholder(tf.int64, []) for _ in range(4)]
    page = table.save_as_tensor(*places)
    found = []
    with tf.compat.v1.Session() as session:
        for shard in range(nshards):
            offset, size = 0, 4
            while size == 4:
                feeds = dict(zip(places, (shard, nshards, 4, offset), strict=True))
                new_offset, dump = session.run(page, feeds)
                size = len(dump)
                assert new_offset > 0
                assert new_offset > offset or size == 0
                assert list(session.run(page, feeds)[1]) == list(dump)
                found += list(dump)
                offset = new_offset
            after, rest = session.run(page, feeds | {places[3]: offset})
            assert len(rest) == 0
            assert after >= offset
    assert Counter(found) == Counter(entries)


def test_a_hundred_entries_in_pairs_of_ten_shards(
    tf: Any, make: Callable[[list[bytes]], Any]
) -> None:
    assert iterate(tf, make(some_entries(100)), limit=2, nshards=10)[0] == 100


def test_entries_that_end_in_nul(tf: Any, tmp_path: Path) -> None:
    entries = [b"\0", b"a\0\0", b""]
    assert iterate(tf, offline_table(tf, entries, tmp_path), nshards=1)[1] == [entries]


# --- the function ---------------------------------------------------------------------------------


def test_a_count_in_a_variable(tf: Any, make: Callable[[list[bytes]], Any]) -> None:
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    v1 = tf.compat.v1
    count = v1.get_variable("count", initializer=0, use_resource=True)
    table = make(some_entries(100))
    done = iterate_table_and_apply(table, lambda dump: count.assign_add(tf.size(dump)), limit=7)
    group = tf.group(done)
    with v1.train.SingularMonitoredSession() as session:
        session.run(group)
        assert session.run(count) == 100
        assert session.run(done) == 100
        assert session.run(count) == 200


def test_plain_conditions_in_the_function(tf: Any) -> None:
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    v1 = tf.compat.v1
    most = v1.get_variable("most", initializer=0, use_resource=True)

    def largest(dump: Any) -> None:
        if tf.size(dump) > most:
            most.assign(tf.size(dump))

    done = iterate_table_and_apply(Pages(tf, some_entries(10)), largest, limit=100, nshards=3)
    with v1.train.MonitoredSession() as session:
        session.run(done)
        assert session.run(most) == 4


def test_pages_follow_each_other(tf: Any) -> None:
    """What the function writes for a page is there for the next one."""
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    v1 = tf.compat.v1
    text = v1.get_variable("text", initializer="", use_resource=True)

    def append(dump: Any) -> None:
        text.assign(tf.strings.join([text.read_value(), tf.strings.reduce_join(dump)]))

    entries = [bytes([letter]) for letter in range(65, 91)]
    done = iterate_table_and_apply(Pages(tf, entries), append, limit=2, nshards=5)
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        session.run(done)
        assert session.run(text) == b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def test_the_arguments_that_a_table_gets(tf: Any) -> None:
    got = []

    class Spy(Pages):
        def save_as_tensor(self, *arguments: Any) -> Any:
            got.append(arguments)
            return super().save_as_tensor(*arguments)

    iterate(tf, Spy(tf, some_entries(3)), limit=5, nshards=2)
    [(shard, nshards, limit, offset)] = got
    assert (shard.dtype, nshards, limit, offset.dtype) == (tf.int32, 2, 5, tf.int64)


@pytest.mark.parametrize(("limit", "nshards"), [(1, 1), (4, 2), (25, 4)])
def test_tensors_as_limit_and_number_of_shards(
    tf: Any, make: Callable[[list[bytes]], Any], limit: int, nshards: int
) -> None:
    """Only the session knows them; the table gets the dtypes of the original's op."""
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    entries = some_entries(11)
    table = graph_form(make(entries))
    got = []

    class Spy:
        def save_as_tensor(self, *arguments: Any) -> Any:
            got.extend(argument.dtype for argument in arguments)
            return table.save_as_tensor(*arguments)

    places = [tf.compat.v1.placeholder(dtype, []) for dtype in (tf.int32, tf.int64)]
    sizes: list[int] = []

    def note(dump: Any) -> None:
        tf.numpy_function(lambda page: sizes.append(len(page)), [dump], [])

    total = iterate_table_and_apply(Spy(), note, *places)
    assert got == [tf.int32, tf.int32, tf.int64, tf.int64]
    with tf.compat.v1.Session() as session:
        assert session.run(total, dict(zip(places, (limit, nshards), strict=True))) == 11
        assert sum(sizes) == 11
        assert max(sizes) <= limit
        assert len(sizes) == nshards + sizes.count(limit)
        for wrong in ((0, nshards), (limit, 0)):
            with pytest.raises(tf.errors.InvalidArgumentError, match="at least one"):
                session.run(total, dict(zip(places, wrong, strict=True)))


def test_numbers_as_constants_and_of_numpy(tf: Any) -> None:
    table = Pages(tf, some_entries(7))
    assert iterate(tf, table, limit=tf.constant(3), nshards=np.int64(2))[0] == 7
    with pytest.raises(UsageError, match="limit 0: at least one entry"):
        iterate(tf, table, limit=tf.constant(0))


def test_a_page_of_unknown_shape(tf: Any) -> None:
    class Vague(Pages):
        def save_as_tensor(self, *arguments: Any) -> Any:
            offset, dump = super().save_as_tensor(*arguments)
            return (
                tf.compat.v1.placeholder_with_default(offset, None),
                tf.compat.v1.placeholder_with_default(dump, None),
            )

    assert iterate(tf, Vague(tf, some_entries(11)), limit=2)[0] == 11


def test_the_ops_are_where_the_table_is(tf: Any) -> None:
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    table = Pages(tf, [])
    with tf.device("/job:ps/task:1"):
        table.table = tf.constant(0)
    total = iterate_table_and_apply(table, lambda dump: None, name="Some")
    assert total.device == "/job:ps/task:1"
    assert total.name.startswith("Some/")


def test_the_ops_are_where_a_table_without_ops_of_its_own_says(tf: Any) -> None:
    """A table may know its device, and have no `table`."""
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply, table_device

    table = Pages(tf, [])
    del table.table
    assert table_device(table) == ""
    assert iterate_table_and_apply(table, lambda dump: None).device == ""
    table.device = "/job:ps/task:1"  # type: ignore[attr-defined]
    assert table_device(table) == "/job:ps/task:1"
    assert iterate_table_and_apply(table, lambda dump: None).device == "/job:ps/task:1"


def test_works_in_a_finalized_graph(tf: Any) -> None:
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    done = iterate_table_and_apply(Pages(tf, some_entries(9)), lambda dump: None)
    with tf.compat.v1.train.MonitoredSession() as session:
        assert session.graph.finalized
        assert session.run(done) == 9


# --- what cannot be -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"limit": 0}, {"limit": -1}, {"nshards": 0}])
def test_no_such_page(tf: Any, arguments: dict[str, int]) -> None:
    from monolith_cli.training.hash_table_utils import iterate_table_and_apply

    with pytest.raises(ValueError, match="at least one") as caught:
        iterate_table_and_apply(Pages(tf, []), lambda dump: None, **arguments)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    ("offsets", "size"),
    [
        ({0: 0}, 0),  # never starts
        ({0: 0}, 1),  # the same page for ever
        ({0: 5, 5: 5}, 2),  # stands still
        ({0: 5, 5: 0}, 2),  # starts again
        ({0: 5, 5: 3, 3: 5}, 2),  # goes back
        ({0: 9, 9: 4, 4: 9}, 2),
    ],
)
def test_a_table_that_goes_on_for_ever(tf: Any, offsets: dict[int, int], size: int) -> None:
    class Broken:
        def save_as_tensor(self, shard: int, shards: int, limit: int, offset: int) -> Any:
            return offsets[offset], [b"x"] * size

    from monolith_cli.training.hash_table_utils import OfflineTable

    with pytest.raises(tf.errors.InvalidArgumentError, match="the table does not move on"):
        iterate(tf, OfflineTable(Broken()), limit=2)


def test_a_table_that_starts_late(tf: Any) -> None:
    """The offset is still 0, and nothing came: asked again."""
    calls = []

    class Late:
        def save_as_tensor(self, shard: int, shards: int, limit: int, offset: int) -> Any:
            calls.append(shard)
            return (0, []) if len(calls) < 5 else (1, [b"x"])

    from monolith_cli.training.hash_table_utils import OfflineTable

    assert iterate(tf, OfflineTable(Late()), nshards=1)[0] == 1
    assert calls == [0] * 5


def test_an_error_of_a_dump_is_told(tf: Any, tmp_path: Path) -> None:
    table = dump_table(tf, some_entries(30), tmp_path)
    path = Path(table.files[1].path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    [table] = open_tables(open_model_dir(tmp_path / "m").checkpoint())
    with pytest.raises(tf.errors.OpError, match=path.name):
        iterate(tf, table)


# --- infer_dim_size -----------------------------------------------------------------------------


@pytest.mark.parametrize("dims", [[], [4], [1, 16, 3]])
def test_infer_dim_size(dims: list[int]) -> None:
    tf_support.tensorflow()
    from monolith_cli.training.hash_table_utils import infer_dim_size

    config = messages.EmbeddingHashTableConfig()
    for dim in dims:
        config.entry_config.segments.add(dim_size=dim)
    assert infer_dim_size(config) == sum(dims)
