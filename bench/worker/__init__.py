"""The worker's side of the process boundary.

Everything in this package runs in any interpreter from Python 3.9 on, with the standard library,
numpy and one runtime; of the rest of `bench` it imports the contract alone (`bench.backend`,
`bench.capabilities`; of language models `bench.decoding` and `bench.steps`) and `bench.errors`.
"""

#: What both sides have to speak alike: one more whenever a message or a value in one changes
#: (tests/worker/test_protocol.py notices). The first message of a worker's process says its own.
PROTOCOL = 9

#: Holds the folder that another interpreter imports `bench` and the adapters from. Not PYTHONPATH,
#: which the programs that a runtime starts would inherit and wrapper scripts like to replace.
PATH_VARIABLE = "BENCH_WORKER_PATH"

#: Like ``python -m bench.worker``, but the folder that the user stands in is not searched for
#: modules: an ``onnxruntime.py`` lying there must not be taken for the runtime.
START = (
    "import os, sys; given = os.environ.get('" + PATH_VARIABLE + "'); "
    "sys.path[:] = [p for p in [given] + sys.path if p]; "
    "from bench.worker.hello import main; main()"
)
