# Every target sets up what it needs: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install wheel picture demo test test-slow test-cluster test-long lint docs bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,docs]'
	@touch $@

wheel: install
	$(BIN)/python -m pip wheel --no-deps --wheel-dir dist .

# The README's picture, of the demo's report. It wants Chromium.
picture: demo
	$(BIN)/python docs/_ext/readme_picture.py demo-output

demo: install
	$(BIN)/raypipe demo --out demo-output

# Two processes, each with a Ray of its own. Whoever has nothing left to do takes from the other.
test: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --ignore tests/cluster --ignore tests/faults --ignore tests/docs

# Tests of the same rooms that take longer: marked `ci`.
test-slow: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m ci --ignore tests/cluster --ignore tests/faults --ignore tests/docs

# What is slow because processes are killed, clusters started and the documentation's examples run.
# These have a run of their own: they want a Ray that knows of the tests' S3 server.
test-cluster: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m 'not long' tests/docs
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m 'not long' tests/cluster tests/faults

# Before a release: whole sets of photographs, every family of networks, a hundred kills.
test-long: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m long

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation site, in docs/_build/html. Links that lead nowhere are errors.
docs: install
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build/html

# Takes an hour or so: BENCH=--quick sees that all works, in minutes.
bench: install
	$(BIN)/python -m benchmarks.extraction $(BENCH)

clean:
	rm -rf $(VENV) build dist docs/_build docs/project docs/reference/commands *.egg-info demo-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
