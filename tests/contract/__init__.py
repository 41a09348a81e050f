"""The contract that every backend keeps; `suite.py` says how to run it on your own."""
