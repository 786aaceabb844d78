"""The nodes of datasets by what they do with elements, under their names without version."""

from __future__ import annotations

__all__ = [
    "ASYNC_BATCHES",
    "BATCHES",
    "CACHES",
    "INTERLEAVES",
    "KNOWN",
    "MAPS",
    "ONE_TO_ONE",
    "REPEATS",
    "SHUFFLES",
    "SOURCES",
    "TAKES",
]

BATCHES = {"Batch", "MapAndBatch", "PaddedBatch", "ParallelBatch"}
"""They make one element of several."""

ASYNC_BATCHES = {"MapAndBatch", "ParallelBatch"}
"""Those of them that make several at a time, and save what they have of each."""

TAKES = {"EmptyTake", "FiniteTake"}
REPEATS = {"FiniteRepeat", "ForeverRepeat"}
SHUFFLES = {"Shuffle", "ShuffleAndRepeat"}
CACHES = {"MemoryCache", "FileCache"}
SOURCES = {"FromTensor", "Random", "Range", "Tensor", "TensorSlice"}
INTERLEAVES = {"Interleave", "LegacyParallelInterleave", "ParallelInterleave"}
MAPS = {"Map", "MapAndBatch", "ParallelMap", "ParseExample", "Scan"}
"""Nodes whose function may change how many rows an element has."""

ONE_TO_ONE = {
    "AssertCardinality",
    "AssertNext",
    "AssertPrev",
    "BytesProducedStats",
    "EmptyTake",
    "FileCache",
    "Finalize",
    "FiniteTake",
    "LatencyStats",
    "Map",
    "MaxIntraOpParallelism",
    "MemoryCache",
    "Model",
    "Optimize",
    "Options",
    "ParallelMap",
    "ParseExample",
    "Prefetch",
    "PrivateThreadPool",
    "Rewrite",
    "Scan",
    "Shuffle",
    "ShuffleAndRepeat",
    "TakeWhile",
    "ThreadPool",
    "Zip",
}
KNOWN = {
    *ONE_TO_ONE,
    *REPEATS,
    *BATCHES,
    *INTERLEAVES,
    "Concatenate",
    "Filter",
    "FiniteSkip",
    "FlatMap",
    "Shard",
}
