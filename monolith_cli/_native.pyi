"""The scanning core: framing, checksums, SNAPPY blocks, entries."""

from collections.abc import Sequence
from typing import Any


class ChangedError(RuntimeError):
    pass

def parse_counts(data: bytes) -> tuple[dict[int, int], dict[str, int]] | None:
    """
    Counts by slot and by table of a ckpt.info that is written as it usually is; None if it is
    not, or malformed.
    """

def crc32c(data: bytes | memoryview, value: int = 0) -> int:
    """CRC-32C of `data`, continuing from `value`."""

def masked_crc32c(data: bytes | memoryview) -> int:
    """The masked CRC-32C that TFRecord files and tensor bundles store."""

def implementations() -> list[str]:
    """The kernel sets that this processor can run, the one in use first."""

def crc32c_by(implementation: str, data: bytes, value: int = 0) -> int:
    """crc32c() by one kernel set."""

def check_frames(implementation: str, data: bytes, own: int | None = None, max_record_bytes: int = 4294967295, lead: int = 0) -> tuple[int, int, int, str]:
    """
    Of the frames that start in the first `own` bytes of `data` (all of it): how many whole ones
    it starts with, how many of those have good data, where the last good one ends, and why
    reading stops there. `data` lies `lead` bytes behind an aligned address.
    """

def matches(implementation: str, mask: bytes, want: bytes, data: bytes) -> list[bool]:
    """
    Which of the frames that `data` starts with equal `want`, as far as `mask` keeps their bytes.
    """

def frame_records(records: Sequence[bytes]) -> bytes:
    """The records in TFRecord frames."""

def encode_entries(fids: object, embedding: object, dims: object | None = None, times: object | None = None, optimizers: Sequence[tuple[str, Sequence[tuple[str, object, object | None]]]] = []) -> bytes:
    """
    Framed EntryDump records from columns, each a C-contiguous array.

    `fids` and `times` are int64. `embedding` and the values of `optimizers`
    (`(type, [(field, values, lengths)])`) hold all entries' values end to end, float32, or
    int64 for integer fields; `dims` and `lengths` (uint32) say how many each entry has,
    None an equal share. Raises ValueError where sizes do not fit.
    """

def encode_snappy_blocks(data: bytes) -> bytes:
    """`data` as the SNAPPY blocks of a TFRecord file."""

def snappy_compress(data: bytes) -> bytes:
    """One raw snappy block."""

def snappy_decompress(data: bytes) -> bytes:
    """
    The content of one raw snappy block. Raises ValueError if it is malformed.
    """

class File:
    """
    An open record file, as a stream of uncompressed bytes.

    A SNAPPY file's blocks must be mapped before it can be read from anywhere. `block_map` is what
    another File of the same file and `max_record_bytes` has as such, and saves that. Raises
    OSError; ChangedError if `block_map` is of a file of another size, ValueError if it is none.

    Where seeking is not cheap, the blocks are not mapped before somebody needs that: asks for
    `stream_bytes` or `block_map`, or has read the file to its end.
    """

    def __init__(self, path: bytes, expected: str = 'plain', max_record_bytes: int = 67108864, block_map: bytes | None = None, seek_is_cheap: bool = True) -> None: ...

    @staticmethod
    def over(source: object, expected: str = 'plain', max_record_bytes: int = 67108864, block_map: bytes | None = None, seek_is_cheap: bool = False) -> File:
        """
        A file that an object reads.

        `source.size` is how many bytes it has. `source.read_into(offset, buffer)` fills a
        memoryview from an offset on and returns how many bytes it has read; fewer than asked
        means that the file got shorter, a ChangedError. It is called by whoever reads, several
        threads at a time, and by a thread that reads ahead. What it raises reaches the caller of
        the Reader. `source.version`, if there is one, and `size` must stay as they are for
        `check_unchanged()`, which calls `source.check_unchanged()` where there is that.

        The object lives as long as the File and its Readers, and until a read ahead is over.
        Reads are of 1 MiB at first, up to 8 MiB, and one is made ahead.
        """

    @property
    def compression(self) -> str: ...

    @property
    def stored_bytes(self) -> int: ...

    @property
    def stream_bytes(self) -> int: ...

    @property
    def block_map(self) -> bytes | None:
        """Where the blocks lie, a few bytes each; None of a plain file."""

    @property
    def mapped(self) -> bool:
        """
        Is it known where the blocks lie? Of a plain file there is nothing to know.
        """

    def check_unchanged(self) -> None: ...

class Filter:
    """Which entries are wanted, by slot and by fid."""

    def __init__(self, fid_version: int = 2) -> None: ...

    def add_slots(self, first: int, last: int) -> None: ...

    def set_fids(self, fids: Sequence[int]) -> None: ...

class Counter:
    """Entries by slot, with what else counting sees."""

    def __init__(self, fid_version: int = 2) -> None: ...

    @property
    def entries(self) -> int: ...

    @property
    def dim_min(self) -> int: ...

    @property
    def dim_max(self) -> int: ...

    def slot_counts(self) -> dict[int, int]: ...

    @property
    def types(self) -> int: ...

    @property
    def runs(self) -> list[tuple[int, int, int]]: ...

    @property
    def runs_cut(self) -> bool: ...

def optimizer_names(types: int) -> list[str]:
    """
    The names of optimizer types, given as a bit for each (`Counter.types`).
    """

def flips_that_mend(block: bytes | memoryview) -> list[int]:
    """
    The bits of a block, each of which makes its checksum hold if it is flipped: one at most in
    the data, and one in the masked CRC-32C at its end. Bit 8 * i + j is bit j of byte i.
    """

def place_of_bit(data: bytes | memoryview, bit: int, message: str) -> tuple[bytes, bytes, bytes] | None:
    """
    The field of a serialized message that a bit belongs to, with its value as it is read now,
    and with the bit flipped. `message` is entry, contents, filter or filter_meta. None if it is
    no such message with the bit flipped.
    """

class Damage:
    """A part of a stream that was left out, and why."""

    @property
    def kind(self) -> str: ...

    @property
    def position(self) -> int: ...

    @property
    def end(self) -> int: ...

    @property
    def offset(self) -> int: ...

    @property
    def length(self) -> int: ...

    @property
    def one_record(self) -> bool: ...

class Reader:
    """
    Reads the records that start in a range of a file's stream.

    `start` is a record's (`exact`), or what is looked for from there: `search`, a guess; `walk`,
    along the records of up to a mebibyte before it, not before `floor`. `check_stop` also checks
    the header of the record that the range stops at, if that is before `ceiling`. `end` None is
    the stream's end: from 0 to there, a file that is not `mapped` is read in one pass, which maps
    it on its way. `read_bytes` bounds what is asked for at once (1 to 1 GiB), `read_ahead` (to 64)
    is how many such reads to begin early; None is what suits the file.

    Methods go on until they have what was asked for, or the reader is `done`: at the end of the
    range, or at damage without `skip` (`failed`). They read without the GIL, and let signals be
    handled every 64 MiB, whose handlers may raise. OSError and ChangedError are of the file.
    """

    def __init__(self, file: File, start: int, end: int | None, floor: int = 0, ceiling: int | None = None, how: str = 'exact', verify: bool = True, skip: bool = False, check_stop: bool = False, read_bytes: int | None = None, read_ahead: int | None = None) -> None: ...

    @property
    def first(self) -> int: ...

    @property
    def position(self) -> int: ...

    @property
    def done(self) -> bool: ...

    @property
    def failed(self) -> bool: ...

    @property
    def damages(self) -> list[Damage]: ...

    def starts_well(self) -> bool:
        """Is there a good header, or the stream's end, where the range starts?"""

    def count(self, counter: Counter, filter: Filter | None = None) -> int:
        """
        Counts all that is left of the range; returns how many entries were counted.
        """

    def skip(self, records: int) -> int:
        """
        Passes over so many records; fewer when it is done, or in front of the first record
        behind damage. Returns how many it passed.
        """

    def records(self, limit: int) -> list[bytes]:
        """So many records, whatever they hold; fewer only when it is done."""

    def entries(self, limit: int, filter: Filter | None = None) -> list[bytes]:
        """So many entries, serialized; fewer only when it is done."""

    def frames(self, limit: int, max_bytes: int, filter: Filter | None = None) -> tuple[bytes, int]:
        """
        So many entries in their frames, or as many as make `max_bytes`; fewer only when it is
        done. Returns them, and how many they are.
        """

    def json_lines(self, limit: int, max_bytes: int, filter: Filter | None = None, columns: int = 63, fid_version: int = 2, number_ids: bool = False, table: str = 'null', name_non_finite: bool = False) -> tuple[bytes, int, int]:
        """
        So many entries as JSON, or as many as make `max_bytes`; fewer only when it is done.
        Returns the lines, how many they are, and how many floats had to be null.
        """

    def json_entries(self, limit: int, filter: Filter | None = None, columns: int = 63, fid_version: int = 2, number_ids: bool = False, table: str = 'null', name_non_finite: bool = False) -> tuple[list[tuple[int, bytes]], int]:
        """
        So many entries, each its feature id and its JSON; fewer only when it is done.
        Returns them, and how many floats had to be null.
        """

    def columns(self, limit: int, filter: Filter | None = None, fid_version: int = 2, with_embedding: bool = True, with_optimizers: bool = True) -> dict[str, Any]:
        """
        So many entries as columns; fewer only when it is done. Raw little-endian arrays by
        name, values that are lists with how many each entry has.
        """

    def batch(self, limit: int, filter: Filter | None = None, fid_version: int = 2, with_embedding: bool = True, with_optimizers: bool = True) -> Batch:
        """
        So many entries as columns; fewer only when it is done. ValueError if one has more
        than 64 optimizers.
        """

    def digests(self, filter: Filter | None = None) -> Parts:
        """Digests of all that is left of the range, as `Parts`."""

    def chosen(self, bits: FidBits, filter: Filter | None = None) -> Parts:
        """
        The entries that are left of the range and whose feature ids are among the bits, whole, as
        `Parts`.
        """

    def rewrite(self, size: int, slots: Filter | None = None, drop_all: bool = False, fid_version: int = 2, where: str = '', norm: float = 0.0, set_zero: bool = False, oldest: int | None = None, snappy: bool = False, discard: bool = False, sieve: DeltaSieve | None = None, brought: bool = False, only: tuple[int, int, bool] | None = None, convert: bool = False, servers: int = 1, is_unsigned: bool = False) -> tuple[list[Output], list[tuple[int, list[int]]]]:
        """
        What is left of the range, as it is to be in other tables, one for each of the servers.

        First go those that a sieve does not keep. With `brought` the range is of a delta, and its
        entries are those that it brings, `only` those of one of so many servers by the signed or
        the unsigned rule. Entries stay if they are of `slots` and newer than `oldest`, unless
        `drop_all`. Of those `where` something is so (`nan`, `nonfinite`, `zero`, `norm-above`), what
        it is becomes 0
        with `set_zero`: values, or of a norm the embedding; else they go. `size` is how many bytes
        are expected; with `discard` none are made. With it comes, of each slot that was met, how
        many entries are the same, have changed, are brought, and are gone by their slot, a condition,
        their age, the sieve. Feature ids are of version 2 in the end with `convert`.
        """

    def sums(self, counter: Counter) -> tuple[int, int]:
        """
        Counts all that is left of the range; returns how many entries there are, and the sum,
        modulo 2^64, of a number of each, which has its feature id, length and checksum in it.
        """

    def newest(self) -> int | None:
        """The newest time of what is left of the range; None without entries."""

    def ages(self, now: int, filter: Filter | None = None) -> list[tuple[int, int]]:
        """
        How many entries there are of each age in whole days before a time; newer ones have 0.
        """

    def delta(self) -> DeltaScan:
        """
        What the delta holds that the range is the whole of, up to the first record that is wrong.
        """

    def delta_entries(self, max_bytes: int) -> tuple[bytes, int]:
        """
        Entries that a range of a delta brings, in their frames, or as many as make `max_bytes`.
        Returns them, and how many they are.
        """

    def sieved(self, sieve: DeltaSieve, max_bytes: int | None = None) -> tuple[bytes, int]:
        """
        Entries that stay, in their frames, or as many as make `max_bytes`; fewer only when it is
        done. Returns them, and how many they are. With None no bytes, and of all.
        """

    def servers(self, server: int, servers: int) -> ServerCounts:
        """
        How all that is left of the range keeps to the rules, of one of so many servers.
        """

    def fids_to_convert(self, filter: Filter | None = None) -> Parts:
        """
        The v1 feature ids of all that is left of the range, as `Parts` of 8 bytes each, by a hash
        of what they become in v2.
        """

    def statistics(self, statistics: Statistics, filter: Filter | None = None) -> None:
        """Adds all that is left of the range to statistics."""

class Batch:
    """
    Entries as columns: `fid`, `slot`, `last_update_ts_sec`, `embedding` and
    `opt_<i>_<type>_<field>`. Optimizers' fields without any value are not there.
    """

    @property
    def rows(self) -> int: ...

    def columns(self) -> list[tuple[str, int, str, int, int, int, int]]:
        """
        The embedding and the optimizers' fields: name; a number that ascends; `floats`, `scalar`
        or `integer`; how many entries have values there; the fewest and the most that one has;
        how many there are.
        """

    def values(self, name: str) -> memoryview:
        """
        The bytes of all values of a column end to end: float32, int64, or int16 of `slot`.
        They are not copied.
        """

    def lengths(self, name: str) -> memoryview:
        """
        How many of them each entry has, uint32. KeyError for those that all have one of.
        """

PARTS: int = 1024

class Parts:
    """
    Records of entries in parts, by a hash of the feature id: digests of 32 bytes.

    `ends` are those of another one, where each of `PARTS` parts ends, and `data` is what
    it has of the parts [first, last). Without ends records are in no order, and of any
    parts.
    """

    def __init__(self, data: bytes, ends: bytes = b'', first: int = 0, last: int = 1024) -> None: ...

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def data(self) -> bytes: ...

    @property
    def ends(self) -> bytes: ...

    def __getstate__(self) -> tuple[bytes, bytes]: ...

    def __setstate__(self, arg: tuple[bytes, bytes], /) -> None: ...

class FidBits:
    """Feature ids, and others that share one of 2^log_bits bits with one."""

    def __init__(self, log_bits: int) -> None: ...

    def has(self, fid: int) -> bool: ...

    def __getstate__(self) -> tuple[int, bytes]: ...

    def __setstate__(self, arg: tuple[int, bytes], /) -> None: ...

class Join:
    """
    What became of the entries of a table.

    With `sums` it also makes digests of both sides; `bits` gets the feature ids of what
    is not the same; with `changes` all of that is kept.
    """

    def __init__(self, fid_version: int = 2, sums: bool = False, bits: FidBits | None = None, changes: bool = False) -> None: ...

    def run(self, a: list[Parts], b: list[Parts], first: int, last: int) -> None:
        """Join the parts [first, last) of two tables, without the GIL."""

    @property
    def slots(self, /) -> list[tuple[int, tuple[int, ...], int, int]]:
        """
        Of each slot: its number; how many entries are the same, touched, of a changed
        embedding, optimizer state, or both, added, removed; and on either side those
        whose feature id has come before.
        """

    @property
    def changes(self) -> bytes:
        """
        Feature id, both times, fate and whether the feature id comes again: `<qqqBB6x`.
        """

    @property
    def sum_a(self) -> int: ...

    @property
    def sum_b(self) -> int: ...

class Changes:
    """
    How far entries have moved, and a delta of them.

    Floats a and b are close if |a - b| <= absolute + relative * |a|. The `top` largest
    moves are kept; with `rows` what differs by more than that; with `delta` the records
    of one are made, of the table of a number.
    """

    def __init__(self, absolute: float = 0.0, relative: float = 0.0, top: int = 0, delta: bool = False, table: int = 0, fid_version: int = 2, rows: bool = False) -> None: ...

    def run(self, a: list[Parts], b: list[Parts], first: int, last: int) -> None:
        """
        Go through the parts [first, last) of what `Reader.chosen` has found on both sides, without
        the GIL.
        """

    @property
    def changed(self) -> int:
        """Pairs of entries whose values differ."""

    @property
    def close(self) -> int:
        """Of these, those whose values are all close."""

    @property
    def close_slots(self, /) -> list[tuple[int, tuple[int, ...], int, int]]:
        """What became of these, by slot, as `Join.slots`."""

    @property
    def rows(self) -> bytes:
        """What is neither close nor of another time alone, as `Join.changes`."""

    @property
    def shapes(self) -> int:
        """Of these, those that have not as many values, or other optimizers."""

    @property
    def non_finite(self) -> int:
        """Of these, those whose distance is no finite number."""

    @property
    def largest(self) -> float:
        """Difference of one value of an embedding, finite."""

    @property
    def distance_sums(self) -> list[float]:
        """Of the L2 norms of differences of embeddings, by part, in order."""

    @property
    def moves(self, /) -> list[tuple[int, float, float, float]]:
        """
        The largest: feature id, L2 norm of the difference, its largest value, L2 norm before.
        """

    @property
    def delta(self) -> bytes:
        """Framed records, in order of hash."""

    @property
    def delta_changes(self) -> int:
        """How many they are."""

class Output:
    """Framed entries as they are to be stored, and what is known of them."""

    @property
    def entries(self) -> int: ...

    @property
    def stream_bytes(self) -> int:
        """Uncompressed."""

    @property
    def stored_bytes(self) -> int: ...

    @property
    def sum(self) -> int:
        """As `Reader.sums`."""

    @property
    def crc(self) -> int:
        """CRC-32C of what is stored."""

    @property
    def data(self) -> bytes: ...

    def write_to(self, file: int) -> None:
        """
        Writes what is to be stored to an open file of that number, without the GIL. Raises
        OSError.
        """

    def __getstate__(self) -> tuple[bytes, int, int, int, int]: ...

    def __setstate__(self, arg: tuple[bytes, int, int, int, int], /) -> None: ...

def crc32c_combine(first: int, second: int, second_bytes: int) -> int:
    """
    The CRC-32C of bytes and others behind them, of which there are so many.
    """

class FidIndex:
    """Feature ids to look up, by their places in order of a hash."""

    def __init__(self, places: bytes = b'') -> None: ...

    def has(self, fid: int) -> bool: ...

    def __len__(self) -> int: ...

    @property
    def memory_bytes(self) -> int: ...

    def __getstate__(self) -> tuple[bytes]: ...

    def __setstate__(self, arg: tuple[bytes], /) -> None: ...

class DeltaPart:
    """What a delta does to one table."""

    @property
    def table(self) -> int:
        """Its number in the header."""

    @property
    def start(self) -> int:
        """Where in the stream its changes lie."""

    @property
    def end(self) -> int: ...

    @property
    def changes(self) -> int: ...

    @property
    def entries(self) -> int:
        """How many of them bring an entry."""

    @property
    def sum(self) -> int:
        """The digest of these entries."""

    @property
    def gone(self) -> FidIndex:
        """All entries with these feature ids make room."""

class DeltaScan:
    """What a delta holds, behind its header."""

    @property
    def parts(self, /) -> list[DeltaPart]:
        """By table, in order."""

    @property
    def ended(self) -> bool:
        """Whether its end was there, with the right number of changes."""

    @property
    def problem(self) -> str:
        """What is wrong with a record, behind which nothing was read."""

    @property
    def problem_at(self) -> int:
        """Where in the stream that is."""

class DeltaSieve:
    """
    What a delta leaves of the entries of a table. Digests are sums of digests of
    entries, modulo 2^64.
    """

    def __init__(self, gone: FidIndex | None = None) -> None: ...

    @property
    def entries(self) -> int:
        """How many there were."""

    @property
    def sum(self) -> int:
        """The digest of these."""

    @property
    def gone_entries(self) -> int:
        """How many of them make room."""

    @property
    def gone_sum(self) -> int:
        """The digest of these."""

class ServerCounts:
    """How entries of one server keep to the two rules."""

    @property
    def entries(self) -> int: ...

    @property
    def high(self) -> int:
        """Those whose feature ids have the top bit."""

    @property
    def wrong(self) -> tuple[int, int]:
        """
        Those of another server, by the signed floored rule and by the unsigned one.
        """

    @property
    def examples(self) -> tuple[int, int]:
        """The feature id of the first of these."""

def server_of(fid: int, servers: int, is_unsigned: bool = False) -> int: ...

def find_collisions(parts: list[Parts], first: int, last: int, most: int) -> tuple[int, list[tuple[int, int, int]]]:
    """
    How many v2 feature ids several of v1 become, in the parts [first, last) of what
    `Reader.fids_to_convert` has found; and so many of them, each with two that become it.
    """

class Summary:
    """
    What statistics found in some entries: by slot, or in all together. Merged in the same order,
    the same parts give the same, to the last bit.
    """

    def __init__(self) -> None: ...

    def merge(self, other: Summary) -> None:
        """Adds what follows."""

    def total(self) -> Summary:
        """All slots together."""

    def groups(self) -> list[tuple[int | None, dict[str, Any]]]:
        """
        By slot, or None and all of them: numbers of entries, `fields`, `norms` and `ages`
        (seconds, from the newest time of all on).
        """

    def pack(self) -> bytes:
        """All of it, for unpack()."""

    @staticmethod
    def unpack(data: bytes) -> Summary:
        """The same again; ValueError if pack() did not make that."""

class Statistics:
    """
    Takes entries, those of one range; by slot or not, and keeps the worst `examples` of them.
    `implementation` is what `run_implementations()` has.
    """

    def __init__(self, fid_version: int = 2, by_slot: bool = False, examples: int = 0, implementation: str | None = None) -> None: ...

    def summary(self) -> Summary: ...

    def examples(self, reader: Reader) -> list[tuple[str, float, str, int, int]]:
        """
        The worst first: `nan`, `inf`, `huge` or `norm`; how many, how large; of which field, the
        first that has it; the feature id, and where in the file its record lies.
        """

def run_implementations() -> list[str]:
    """What can add up floats on this processor, the one in use first."""

def scan_variants(data: bytes | memoryview, count: int, crc: int = 0) -> tuple[list[tuple[int, int]], int, int, str, int]:
    """
    Up to `count` elements of a variant tensor, as a data file has them; `crc` is that of all
    before. Returns where they lie, the bytes that they take, the crc, why it stopped
    ('count', 'cut', 'bad_length', 'bad_crc'), and if cut, how long the next one is, with its
    framing; 0 if that is cut, too.
    """

def variant_type(data: bytes | memoryview) -> str:
    """A VariantTensorDataProto's type name. Raises ValueError if it is none."""

def variant_places(data: bytes | memoryview) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Where its metadata and its tensors lie."""

def state_part_head(data: bytes | memoryview) -> tuple[str, int | None]:
    """
    The name of a part of an iterator's state, and how many bytes its values take
    uncompressed; None if each is a TensorProto. All of it is checked, but not decompressed.
    Raises ValueError for anything else.
    """

def state_part_values(data: bytes | memoryview) -> tuple[list[tuple[str, int, tuple[int, ...], tuple[int, ...]]], list[tuple[int, int]]]:
    """
    Key, number of the dtype, shape and sizes of its values, and where they lie: compressed
    in one, or a TensorProto each.
    """

def snappy_decompress_ranges(data: bytes | memoryview, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """
    Parts of the content of one raw snappy block, which ascend and do not overlap. What is
    behind the last one is not decoded. Raises ValueError if it is malformed.
    """
