# Two commands do everything on a fresh machine: `make train` and `make test`.
# Flags go in ARGS: make train ARGS="--seed 1"

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# Quick tests that run at a time; each may start several processes.
JOBS ?= 2

.PHONY: venv train test test-all lint bench clean

venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learner,dev]'
	touch $@

train: venv
	$(BIN)/graspfleet train $(ARGS)

test: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -rs $(ARGS)

test-all: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -rs $(ARGS)
	$(BIN)/python -m pytest -m "slow or containers or slurm" -rs $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Everything that is fast here beside what it is compared with; the peers are installed for it alone.
bench: .venv/.peers
	$(BIN)/python -m benchmarks --json docs/results/bench.json $(ARGS)

.venv/.peers: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learner,dev,bench]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
