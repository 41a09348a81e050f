"""Benchmark models across runtimes and devices, and say how sure each number is."""

# Read by every worker's interpreter, even by one that is too old and has to say so: nothing here
# may be newer than Python 2.7. The types are in `__init__.pyi`.

__version__ = "0.1.0"


def __getattr__(name):
    """`bench.load` brings pandas, so it is imported when it is first asked for."""
    if name in ("load", "ResultsWarning"):
        from bench.store import frames as results  # pandas: start-up

        return getattr(results, name)
    raise AttributeError("module 'bench' has no attribute %r" % name)
