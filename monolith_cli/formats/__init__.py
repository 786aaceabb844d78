"""Bytes to records and back: record files, tensor bundles, text files."""
