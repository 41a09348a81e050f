"""The worker's side of the process boundary.

Everything in this package runs in any interpreter from Python 3.9 on, with the standard library,
numpy and one runtime; it never imports the rest of `bench` but `bench.backend` and `bench.errors`.
"""
