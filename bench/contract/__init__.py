"""What every backend promises, as tests: `bench debug selftest --contract TARGET` runs them.

The checks are in `suite.py` and `optional.py`, and need no pytest; `test_contract.py` runs them on
the devices of installed backends. They need the extra `contract`.
"""
