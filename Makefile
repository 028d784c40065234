# Everything the project does, with Python >= 3.11 and make alone. `make help` lists it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := $(VENV)/.with-demo
DEV    := $(VENV)/.with-dev
# A process for each core, four at most: each may hold a federation. A file keeps to one of them.
SPREAD := -n auto --maxprocesses 4 --dist loadfile
# Compared with in the benchmarks and no part of this project: its licence is the GPL.
PYMERKLE := .venv-bench

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check bench format clean

help:            ## this list
	@sed -n 's/^\([a-z]*\): .*## /  make \1	/p; s/^\([a-z]*\): *## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(DEMO)    ## three hospitals train one model; the results are in out/demo
	@WARDROUND_INSTALL_SECONDS=$$(cat $(DEMO)) $(BIN)/wardround demo $(ARGS)

test: $(DEV)     ## the tests
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

check: $(DEV)    ## what is asked of every change: format, lint, types, contracts, tests, coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest $(SPREAD) --cov --cov-report=term --cov-fail-under=80 $(ARGS)

bench: $(DEV)    ## how fast it is, here and now
	@test -x $(PYMERKLE)/bin/python && $(PYMERKLE)/bin/python -c 'import pymerkle' 2>/dev/null || \
		{ $(PYTHON) -m venv $(PYMERKLE) && $(PYMERKLE)/bin/python -m pip install --quiet pymerkle==7.0.0; } || \
		{ echo "PYMERKLE COULD NOT BE INSTALLED: it is left out of the comparison" >&2; rm -rf $(PYMERKLE); }
	$(BIN)/python -m pytest tests/benchmarks -s -q $(ARGS)

format: $(DEV)   ## put the source into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:           ## remove what the other targets made, the environment included
	rm -rf $(VENV) $(PYMERKLE) out build dist *.egg-info .coverage* htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Wardround needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

# The development environment holds all that the demo needs, so the second stamp follows from the first.
$(DEMO): pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV); this happens once"
	@start=$$(date +%s) && { test -e $(DEV) || $(BIN)/python -m pip install --quiet --editable '.[demo]'; } && echo $$(( $$(date +%s) - start )) > $@

$(DEV): pyproject.toml | $(BIN)/python
	@echo "installing into $(VENV); this happens once"
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' && touch $@
