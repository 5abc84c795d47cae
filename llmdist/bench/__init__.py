"""Benchmarks: ``python -m llmdist.bench NAME``; each prints a table and writes JSON rows with their conditions."""

from .rows import Row, ratio, table, write_json

__all__ = ["Row", "ratio", "table", "write_json"]
