"""The kinds of errors, each with its meaning in a line: what a program finds under `kind`.

A kind is the name that an error of the library (`MonolithError.kind`) and the JSON of a failed
command share. Names stay; new ones may come. docs/ci.md has the same table.
"""

from __future__ import annotations

__all__ = ["KINDS", "RECORD_DAMAGE"]

RECORD_DAMAGE = {
    "truncated_header": "a file of records ends inside the header of one",
    "bad_length_crc": "the length of a record fails its checksum",
    "record_too_long": "a record claims to be longer than allowed",
    "truncated_data": "a file ends inside a record, or before what its index says is in it",
    "bad_data_crc": "a record, or a dense value, fails its checksum",
    "bad_message": "a record that is not the message it should be",
    "truncated_block": "a file ends inside a block",
    "bad_block_length": "the lengths of a SNAPPY block make no sense",
    "bad_block": "a block does not decompress, or is not a block of an index",
}
"""Damage that reading may go on behind."""

KINDS = {
    **RECORD_DAMAGE,
    "not_records": "a file of another format, such as a git-lfs pointer or a gzip file",
    "too_few_records": "fewer records than the contents file promises",
    "empty_shard": "a file of 0 bytes, where a contents file promises entries",
    "empty_contents": "an empty contents file, where entries or other contents files are",
    "short_contents": "a contents file that names fewer tables than others of its dump",
    "missing_shard": "a shard of a dump, or a file of a checkpoint, is not there",
    "manifest_differs": "a file of a checkpoint has another size than its manifest says",
    "shard_mismatch": "shards that disagree about their total",
    "copies_differ": "copies of a dump's file, in the assets of several servers, that differ",
    "table_gone": "tables that ckpt.info counts, and that have no dump",
    "bad_state_file": "a text file, such as checkpoint or ckpt.info, that does not parse",
    "not_a_table": "a file that should be the index of a checkpoint, and is not",
    "not_data": "a data file of a checkpoint that is of another format, such as a git-lfs pointer",
    "bad_block_crc": "a block of an index fails its checksum",
    "bad_entry": "an entry of an index that makes no sense",
    "missing_slice": "a part of a partitioned variable is not in the checkpoint",
    "bad_state": "the state of an iterator that makes no sense",
    "state_gone": "the state of an iterator that its state file names is not there",
    "corrupt": "other damage",
    "not_found": "no such file or directory, or not what it should be",
    "no_such_step": "a step that is not there, or not committed",
    "override_stale": "ckpt.override asks for a step that is not there",
    "v1_format": "a checkpoint in TensorFlow's V1 format, which is not read",
    "no_such_table": "a pattern that no table matches",
    "no_such_entry": "a feature id that no table has",
    "no_such_worker": "a worker that has no input here",
    "no_dataset": "a function that returns no dataset, or one without elements",
    "not_readable": "the operating system refuses to read",
    "not_written": "the operating system refuses to write",
    "read_only": "no permission to write there",
    "no_space": "the disk, or the quota, is full",
    "file_too_large": "a file would be larger than allowed",
    "changed_while_read": "a file has changed while it was read",
    "exists": "something is in the way, and was not overwritten",
    "no_directory": "something that is not a directory has the name of one",
    "different": "two things that were compared are not the same",
    "unreachable": "a job, or a part of it, does not answer",
    "no_address": "no job has left its address in the directory",
    "nobody_listens": "no job listens at its address, which may be stale",
    "another_job": "the job that listens there belongs to another directory",
    "wants_tls": "what listens there is not a job, or needs TLS",
    "wants_certificate": "no secure connection; the job may ask for a client certificate",
    "session_ended": "a job has ended, or begun a new run, before it answered",
    "refused": "a job answers, and says no",
    "job_runs": "a job runs, and this is not done meanwhile",
    "in_use": "another job or command holds the directory now",
    "another_chief": "another job saves into the same directory",
    "unfinished_command": "a command that changes a directory was cut off, and must be run again",
    "original_job": "something that a job with the original service does not offer",
    "unfinished_workers": "workers have not saved their input in time",
    "broken_executor": "an executor that was handed in did not do its work",
    "timed_out": "time ran out",
    "may_be_done": "time ran out, and the job may still do what it was asked for",
    "usage": "wrong usage",
    "bad_cursor": "a cursor that points at no entry",
    "interrupted": "interrupted (SIGINT)",
    "terminated": "terminated (SIGTERM), or hung up",
    "out_of_memory": "out of memory",
    "internal": "an error in this program",
    "error": "anything else",
}
"""Every kind, with its meaning."""
