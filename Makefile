# Two commands do everything on a fresh machine: `make train` and `make test`.
# Flags go in ARGS: make train ARGS="--seed 1"

# The first Python in PATH that graspfleet runs on; another one: make venv PYTHON=/path/to/python3.13
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13; do \
	$$python -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$python && break; done)
# Extras to install; an actor's host needs no more than: make venv EXTRAS=dev
EXTRAS ?= learner,dev
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# Quick tests that run at a time; each may start several processes.
JOBS ?= 2

.PHONY: venv train test test-all test-actor lint bench clean

venv: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11, 3.12 or 3.13 with venv in PATH; name one: make venv PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

train: venv
	$(BIN)/graspfleet train $(ARGS)

test: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -rs $(ARGS)

test-all: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -rs $(ARGS)
	$(BIN)/python -m pytest -m "slow or containers or slurm" -rs $(ARGS)

# The actor's side alone, which needs neither torch nor a compiler:
# make test-actor VENV=.venv-3.13 PYTHON=python3.13 EXTRAS=dev
test-actor: venv
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -rs tests/actor tests/common $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Everything that is fast here beside what it is compared with; the peers are installed for it alone.
bench: $(VENV)/.baselines
	$(BIN)/python -m benchmarks --json docs/results/bench.json $(ARGS)

$(VENV)/.baselines: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learner,dev,bench]'
	touch $@

clean:
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
