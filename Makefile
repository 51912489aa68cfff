# Attention Atlas. Every target does its own set-up and needs nothing but make and Python 3.11 or newer.
# `make help` lists them. Another Python: make test PYTHON=python3.12

# Recipes are plain POSIX shell; make never takes this from the environment, a command line may.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.SUFFIXES:

# The first of these that is new enough: on many machines `python3` is older than what is installed beside it.
SUITABLE := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	if $$p -c '$(SUITABLE)' 2>/dev/null; then echo $$p; break; fi; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-lock
EXTRAS := lab,corpus,train,bench,dev
WORKERS ?= 2
# `make test TESTS=tests/test_ids.py` runs a part.
TESTS ?= tests

.PHONY: help venv serve lab test bench soak lint format models models-eval browser lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## the environment alone, in .venv, from the lock (constraints.txt)

# The build backend goes in first, from the lock too, and builds without isolation: nothing unpinned is ever fetched.
$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer found; name one: make venv PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c '$(SUITABLE)' || { echo "$(PYTHON) is older than 3.11; name another: make venv PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; \
		rm -rf $(VENV); exit 1; }
	@$(BIN)/python -c '$(SUITABLE)' || { echo "$(VENV) holds an older Python; remove it: make clean" >&2; exit 1; }
	@echo "Setting up $(VENV) from constraints.txt; the first time this takes some minutes and 3 GB."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[$(EXTRAS)]'
	@touch $@

serve: $(STAMP) ## open the app in a browser
	$(BIN)/atlas serve

lab: $(STAMP) ## open JupyterLab on the notebooks
	$(BIN)/jupyter lab --notebook-dir=apps

# One worker keeps a whole file, so that what its tests share (a wheel, a model) is made once; files begin in the order of
# tests/conftest.py, the longest first, and not by their number of tests. What failed in a browser, and nothing else, is run again
# alone at the end.
test: $(STAMP) browser ## run all tests (25 minutes on two cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS) || $(BIN)/python -m tests.again

bench: $(STAMP) ## measure speed and size, beside the plain model and BertViz, and how faithful explanations are
	$(BIN)/python -m tests.benchmarks

soak: $(STAMP) ## let READERS=30 scripted readers use the app for MINUTES=20, and count errors, latency and memory
	$(BIN)/python -m tests.soak --readers $(or $(READERS),30) --minutes $(or $(MINUTES),20) -- $(SERVE)

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## rewrite the code in the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

models: $(STAMP) ## make the embedded models again, from their recipes
	$(BIN)/python -m assets.recipes.build

models-eval: $(STAMP) ## measure the embedded models, as their cards report
	$(BIN)/python -m assets.recipes.evaluate

# A Chromium of the system is preferred (Debian's own on arm64, where Playwright may have none); else Playwright's.
browser: $(STAMP) ## a Chromium for the browser tests, if none is found
	@if command -v chromium || command -v chromium-browser || command -v google-chrome; then :; \
	elif $(BIN)/python -c 'import os, playwright.sync_api as p; c = p.sync_playwright().start(); \
		f = os.path.exists(c.chromium.executable_path); c.stop(); raise SystemExit(not f)'; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; then :; \
	else $(BIN)/python -m playwright install chromium; fi

# In an environment of its own, so that nothing a developer once tried ends up in the lock.
lock: ## make constraints.txt again, with the newest versions pyproject.toml allows
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet hatchling
	build/lock/bin/python -m pip install --quiet --no-build-isolation '.[$(EXTRAS)]'
	{ grep '#' constraints.txt; build/lock/bin/python -m pip freeze --all --exclude attention-atlas --exclude pip | \
		sed 's/+[a-z0-9.]*$$//'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
