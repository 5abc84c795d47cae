# Needs make and Python 3.10 or newer; everything else goes into .venv.  PYTHON=python3.12 make setup

PYTHON ?= python3
BENCH ?= cpu
BIN := .venv/bin
PY := $(BIN)/python
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test browser check lab tutorials bench clean

help:
	@echo "make setup      create .venv and install llmdist with its tools"
	@echo "make demo       load, plan and generate with the bundled model"
	@echo "make test       run the tests"
	@echo "make check      ruff, mypy, import contracts"
	@echo "make lab        open JupyterLab on the tutorials"
	@echo "make tutorials  run every tutorial and store its outputs"
	@echo "make bench      run a benchmark (BENCH=cpu|gpu|planner|stream|virtual)"
	@echo "make clean      remove .venv and caches"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip
	$(PY) -m pip install -q -c constraints.txt torch==2.13.0
	$(PY) -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(PY) -m llmdist_widgets.demo

test: setup browser
	$(PY) -m pytest

# Best effort: without a browser the tests that need one are skipped.
browser:
	@if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } \
			</dev/null >/dev/null 2>&1 || echo "chromium could not be installed: browser tests are skipped"; \
	else echo "no chromium found: browser tests are skipped; install chromium to run them"; fi

check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lab: setup
	$(BIN)/jupyter lab tutorials

tutorials: setup
	$(PY) tutorials/source/notebook.py
	$(BIN)/jupyter nbconvert --to notebook --execute --ExecutePreprocessor.coalesce_streams=True \
		--inplace tutorials/*.ipynb

bench: setup
	$(PY) -m llmdist.bench $(BENCH)

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
