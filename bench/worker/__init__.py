"""The worker's side of the process boundary.

Everything in this package runs in any interpreter from Python 3.9 on, with the standard library,
numpy and one runtime; it never imports the rest of `bench` but `bench.backend` and `bench.errors`.
"""

#: Like ``python -m bench.worker``, but the folder that the user stands in is not searched for
#: modules: an ``onnxruntime.py`` lying there must not be taken for the runtime.
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from bench.worker.__main__ import main; main()"
)
