"""Interpreters other than the one that runs `bench`, in which a runtime's workers run.

Flavours of one runtime can't be installed together, and a vendor's runtime often lives in an
interpreter of its own. An environment is *created* (`bench env create`) from what a backend
declares in ``requirements``, or *configured* (`bench.config`).
"""
