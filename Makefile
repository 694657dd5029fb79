# Every target makes what it needs, .venv included, from a clean clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHARED ?= ../shared
STAMP := $(VENV)/.installed
DEVSTAMP := $(VENV)/.installed-dev

.PHONY: help demo test lint bench fuzz soak docs clean

help: ## say what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("vmbroker needs Python 3.11 or newer: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(DEVSTAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## real ssh, scp, sftp and rsync into the lab's VMs; non-zero if one thing did not work
	@$(BIN)/vmbroker demo

test: $(DEVSTAMP) kubectl ## the whole suite
	$(BIN)/python -m pytest

lint: $(DEVSTAMP) ## ruff, mypy strict, the storeys, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m broker.cli.reference --check docs/reference.md

bench: $(DEVSTAMP) ## ratios against bare programs on this machine (at most 10 minutes)
	$(BIN)/python -m pytest -m bench -s --timeout 600 tests/bench

fuzz: $(DEVSTAMP) ## property tests with many examples, every hostile text with every command line
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m 'fuzz or not fuzz' -k 'hypothesis or property or fuzz' --timeout 900 tests/broker
	HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest --timeout 900 tests/hostile

soak: $(DEVSTAMP) ## long runs: leaks, stalled consumers at the real deadlines
	$(BIN)/python -m pytest -m soak -s --timeout 3600 tests/soak

docs: $(DEVSTAMP) ## write the generated pages
	$(BIN)/python -m broker.cli.reference --write docs/reference.md

# A current kubectl for the tests, where the shared folder that brings one is there.
.PHONY: kubectl
kubectl:
	@if [ -f $(SHARED)/tools/kubectl.sh ] && [ "$$(uname -sm)" = "Linux x86_64" ]; then bash $(SHARED)/tools/kubectl.sh .tools >/dev/null; fi

clean:
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
