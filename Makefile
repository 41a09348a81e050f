# The two commands of a newcomer: `make run` and `make test`. Both set up .venv when it is missing
# or when what it was made from has changed, and work offline after that.

VENV := .venv
PYTHON := $(VENV)/bin/python
EXTRAS := cpu,test

.PHONY: run test lint types unit bench proof clean

run: $(VENV)/.ready
	$(VENV)/bin/bench run

test: lint types unit

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready
	$(VENV)/bin/mypy

unit: $(VENV)/.ready
	$(VENV)/bin/pytest

# Ratios measured in one run; nothing here fails on a time.
bench: $(VENV)/.ready
	$(PYTHON) tests/benchmarks/startup.py
	$(PYTHON) tests/benchmarks/overhead.py
	$(PYTHON) tests/benchmarks/lanes.py
	$(PYTHON) tests/benchmarks/results.py

# The engine's claims, measured: half an hour, best on a machine that does nothing else.
proof: $(VENV)/.ready
	$(PYTHON) -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$(EXTRAS),proof]'
	$(PYTHON) tests/proofs

$(VENV)/.ready: pyproject.toml constraints.txt
	python3 -c 'import sys; sys.exit("bench needs Python 3.11 or later, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(PYTHON) || python3 -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
