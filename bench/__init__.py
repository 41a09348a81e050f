"""Benchmark models across runtimes and devices, and say how sure each number is."""

__version__ = "0.1.0"
