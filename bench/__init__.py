"""Benchmark models across runtimes and devices, and say how sure each number is."""

# Read by every worker's interpreter, even by one that is too old and has to say so: nothing here
# may be newer than Python 2.7. The types are in `__init__.pyi`.

__version__ = "0.1.0"

#: What `bench.api.public` has for Python code.
_PUBLIC = (
    "BenchError",
    "Comparison",
    "Deal",
    "Interrupted",
    "ResultsWarning",
    "Run",
    "load",
    "open",
    "run",
)
#: What every module has, and the version.
_OWN = ("__doc__", "__file__", "__name__", "__path__", "__version__")


def __getattr__(name):
    """The public names bring NumPy and pydantic, so they are imported when one is first used."""
    if name in _PUBLIC:
        from bench.api import public  # numpy: start-up

        return getattr(public, name)
    raise AttributeError("module 'bench' has no attribute %r" % name)


def __dir__():
    """What Python code is meant to use; the rooms of the package are not part of it."""
    return sorted(_PUBLIC + _OWN)
