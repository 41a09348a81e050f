# The two commands of a newcomer: `make run` and `make test`. Both set up .venv when it is missing
# or when what it was made from has changed, and work offline after that. The tests need more:
# further runtimes, emulators, browsers' drivers; `make run` after them measures those runtimes too.

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALL := $(PYTHON) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# The tests are mostly waiting for processes of their own; those that time something run alone.
JOBS := 3

.PHONY: run test lint types unit faults long audit weight bench proof mutants clean

run: $(VENV)/.ready
	$(VENV)/bin/bench run

test: lint types unit

lint: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

types: $(VENV)/.ready-test
	$(VENV)/bin/mypy

unit: $(VENV)/.ready-test
	$(VENV)/bin/pytest -m "alone and not faults and not long" --ignore tests/contract --ignore bench/contract
	$(VENV)/bin/pytest -m "not alone and not faults and not long" -n $(JOBS) --dist loadgroup

# Faults by real means that take long: kills at random moments, full disks.
faults: $(VENV)/.ready-test
	$(VENV)/bin/pytest -m faults
	BENCH_ODD_RUNS=300 $(VENV)/bin/pytest tests/commands/test_any_run_is_readable.py

# What takes too long for every change: the walk-throughs of CONTRIBUTING, all of ONNX's node tests,
# language models of every architecture exported and compared.
long: $(VENV)/.ready-test
	$(VENV)/bin/pytest -m long

# Known flaws of what is installed; skipped, in words, where nobody can be asked.
audit: $(VENV)/.ready-test
	$(PYTHON) tests/audit.py

# What the light install weighs, in an environment of its own.
weight: $(VENV)/.ready-test
	$(PYTHON) tests/weight.py

# Ratios measured in one run; nothing here fails on a time.
bench: $(VENV)/.ready-test
	$(PYTHON) tests/benchmarks/startup.py
	$(PYTHON) tests/benchmarks/starting.py
	$(PYTHON) tests/benchmarks/overhead.py
	$(PYTHON) tests/benchmarks/lanes.py
	$(PYTHON) tests/benchmarks/decoding.py
	$(PYTHON) tests/benchmarks/results.py
	$(PYTHON) tests/benchmarks/report.py
	$(PYTHON) tests/benchmarks/fleet.py

# The claims, measured: some hours, best on a machine that does nothing else.
proof: $(VENV)/.ready-test
	$(INSTALL) --editable '.[cpu,test,proof]'
	$(PYTHON) tests/proofs

# The tests, tested: the code changed in one place at a time. An hour or more; goes on where it was.
mutants: $(VENV)/.ready-test
	$(INSTALL) --editable '.[cpu,test,mutants]'
	$(PYTHON) tests/mutants $(MUTANTS)

$(VENV)/.ready: pyproject.toml constraints.txt | $(PYTHON)
	$(INSTALL) --editable '.[cpu]'
	touch $@

# All at once rather than on top of `.ready`: pip looks at every distribution once.
$(VENV)/.ready-test: pyproject.toml constraints.txt | $(PYTHON)
	$(INSTALL) --editable '.[cpu,test]'
	touch $(VENV)/.ready $@

$(PYTHON):
	python3 -c 'import sys; sys.exit("bench needs Python 3.11 or later, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	python3 -m venv $(VENV)

clean:
	rm -rf $(VENV) build *.egg-info
