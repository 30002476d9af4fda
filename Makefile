# Two commands do everything on a fresh machine: `make train` and `make test`.
# Flags go in ARGS: make train ARGS="--seed 1"

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: venv train test test-all lint bench clean

venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learner,dev]'
	touch $@

train: venv
	$(BIN)/graspfleet train $(ARGS)

test: venv
	$(BIN)/python -m pytest $(ARGS)

test-all: venv
	$(BIN)/python -m pytest -m "" -rs $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv
	$(BIN)/python -m benchmarks.learning $(ARGS)

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
