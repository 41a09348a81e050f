from bench.results import ResultsWarning as ResultsWarning
from bench.results import load as load

__version__: str
