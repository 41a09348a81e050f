from bench.api.public import BenchError as BenchError
from bench.api.public import Comparison as Comparison
from bench.api.public import Deal as Deal
from bench.api.public import Interrupted as Interrupted
from bench.api.public import ResultsWarning as ResultsWarning
from bench.api.public import Run as Run
from bench.api.public import load as load
from bench.api.public import open as open
from bench.api.public import run as run

__version__: str
