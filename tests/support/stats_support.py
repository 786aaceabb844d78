"""What NumPy, in double precision, says of entries that protobuf has parsed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from monolith_cli import messages
from monolith_cli.tables.stats import FieldStats, GroupStats

HUGE = float(np.float32(1e30))
DAY = 86400


class Witness:
    """Some entries, by field an array a row."""

    def __init__(self, records: Iterable[bytes]) -> None:
        self.entries = [messages.EntryDump.FromString(record) for record in records]
        self.rows: dict[str, list[Any]] = {}
        for entry in self.entries:
            for name, values in _fields_of(entry).items():
                self.rows.setdefault(name, []).append(values)
        self.times = np.array([entry.last_update_ts_sec for entry in self.entries], np.int64)

    def check(self, group: GroupStats, newest: int | None = None) -> None:
        """Whether a group's statistics are of these entries."""
        assert group.entries == len(self.entries)
        assert {field.name for field in group.fields} == set(self.rows)
        for field in group.fields:
            self._check_field(field)
        floats = {name: rows for name, rows in self.rows.items() if rows[0].dtype == np.float32}
        odd: dict[str, set[int]] = {"nan": set(), "inf": set(), "huge": set()}
        for index, entry in enumerate(self.entries):
            for name, values in _fields_of(entry).items():
                if name not in floats:
                    continue
                if np.isnan(values).any():
                    odd["nan"].add(index)
                if np.isinf(values).any():
                    odd["inf"].add(index)
                if _is_huge(values).any():
                    odd["huge"].add(index)
        assert (group.nan_entries, group.inf_entries, group.huge_entries) == tuple(
            map(len, odd.values())
        )
        if self.entries:
            dims = [len(entry.num) for entry in self.entries]
            assert group.dims == (min(dims), max(dims))
        else:
            assert group.dims is None
        self._check_norms(group)
        self._check_ages(group, newest)

    def _check_field(self, field: FieldStats) -> None:
        rows = self.rows[field.name]
        values = np.concatenate(rows)
        wide = values.astype(np.float64)
        finite = wide[np.isfinite(wide)]
        assert field.values == len(values)
        assert field.nan == np.isnan(wide).sum()
        assert field.plus_inf == np.isposinf(wide).sum()
        assert field.minus_inf == np.isneginf(wide).sum()
        assert field.rows == len(rows)
        assert field.zero_rows == sum(not row.any() for row in rows)
        is_integer = values.dtype == np.int64
        assert field.huge == (0 if is_integer else _is_huge(values).sum())
        if not len(finite):
            assert (field.min, field.max, field.mean, field.std) == (None,) * 4
            return
        if is_integer:
            assert (field.min, field.max) == (values.min(), values.max())
            assert isinstance(field.min, int)
        else:
            assert (field.min, field.max) == (finite.min(), finite.max())
        assert field.mean is not None
        assert field.std is not None
        spread = float(np.std(finite))
        size = float(np.abs(finite).max())
        assert field.mean == pytest.approx(np.mean(finite), rel=1e-13, abs=1e-13 * size)
        assert field.std == pytest.approx(spread, rel=1e-10, abs=1e-15 * size)

    def _check_norms(self, group: GroupStats) -> None:
        rows = [row.astype(np.float64) for row in self.rows.get("embedding", [])]
        norms = np.array([np.sqrt((row * row).sum()) for row in rows if np.isfinite(row).all()])
        found = group.norms
        assert found.entries == len(norms)
        if not len(norms):
            assert (found.p0, found.p1, found.p50, found.p99, found.max) == (None,) * 5
            assert found.by_power == {}
            return
        assert found.p0 == pytest.approx(norms.min(), rel=1e-14)
        assert found.max == pytest.approx(norms.max(), rel=1e-14)
        for share, value in ((0.01, found.p1), (0.5, found.p50), (0.99, found.p99)):
            exact = np.quantile(norms, share, method="inverted_cdf")
            assert value == pytest.approx(exact, rel=0.004)
        assert found.zero == (norms == 0).sum()
        powers, counts = np.unique(np.floor(np.log2(norms[norms > 0])), return_counts=True)
        assert found.by_power == dict(
            zip(powers.astype(int).tolist(), counts.tolist(), strict=True)
        )

    def _check_ages(self, group: GroupStats, newest: int | None) -> None:
        is_time = (self.times > 0) & (self.times < 2**33)
        times = self.times[is_time]
        found = group.ages
        assert found.entries == len(times)
        assert found.without == (self.times == 0).sum()
        assert found.odd == (~is_time & (self.times != 0)).sum()
        if not len(times):
            assert (found.oldest, found.newest, found.p50) == (None,) * 3
            assert found.by_day == {}
            return
        assert (found.oldest, found.newest) == (times.min(), times.max())
        ages = (times.max() if newest is None else newest) - times
        for share, value in ((0.01, found.p1), (0.5, found.p50), (0.99, found.p99)):
            exact = np.quantile(ages, share, method="inverted_cdf") / DAY
            assert value == pytest.approx(exact, abs=1 / 24)
        assert sum(found.by_day.values()) == len(times)
        near = ages % DAY
        sure = (near > 3600) & (near < DAY - 3600)
        for day, count in found.by_day.items():
            whole = ages // DAY == day
            assert count >= (whole & sure).sum()
            assert count <= whole.sum() + (~sure).sum()


def _is_huge(values: Any) -> Any:
    return np.isfinite(values) & (np.abs(values) > HUGE)


def _fields_of(entry: Any) -> Mapping[str, Any]:
    found = {"embedding": np.array(entry.num, np.float32)}
    for index, single in enumerate(entry.opt.dump):
        kind = single.WhichOneof("type")
        for field, value in getattr(single, kind).ListFields() if kind else ():
            is_integer = field.cpp_type == field.CPPTYPE_INT64
            values = np.atleast_1d(np.array(value, np.int64 if is_integer else np.float32))
            found[f"opt.{index}.{kind}.{field.name}"] = values
    return {name: values for name, values in found.items() if len(values)}
