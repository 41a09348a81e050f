from bench.store.frames import ResultsWarning as ResultsWarning
from bench.store.frames import load as load

__version__: str
