# make help lists what there is. Everything runs in .venv, made by `make setup`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup setup-scatter demo quick-report test test-all test-slurm lint format golden docs bench ui clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/installed  ## make the virtual environment .venv with pinned versions

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"trustmm needs Python 3.11 or newer, this is {sys.version}; try make PYTHON=python3.12"'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "no venv module: apt-get install python3.11-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

setup-scatter: $(VENV)/installed-scatter  ## add torch-scatter (the extra `scatter`), compiled for minutes; needs a C++ compiler

$(VENV)/installed-scatter: $(VENV)/wheels/torch-scatter
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index --find-links $(VENV)/wheels torch-scatter
	$(BIN)/python -c 'import torch_scatter'
	touch $@

$(VENV)/wheels/torch-scatter: $(VENV)/installed
	command -v c++ >/dev/null || { echo "torch-scatter has no wheel for this torch and there is no C++ compiler to build one: apt-get install g++" >&2; exit 1; }
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --constraint constraints.txt --no-deps --no-build-isolation --wheel-dir $(VENV)/wheels torch-scatter
	touch $@

demo: setup  ## the main question on built-in data: base and rectified FREEDOM, clean and damaged, in minutes
	$(BIN)/python -m trustmm demo $(if $(OUTPUTS),--outputs $(OUTPUTS))

quick-report: setup  ## sweeps of all quick templates, and their reports in outputs/report (20 minutes on 2 cores)
	$(BIN)/python -m trustmm quick-report

MARKS ?= not slow
test: setup  ## quick tests
	$(BIN)/python -m pytest -n auto --dist worksteal -m "$(MARKS)"

test-all: setup  ## all tests, with real data where ../shared is
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slurm: setup  ## sweeps on a real one-node Slurm, installed with apt-get where it is not (as root)
	$(BIN)/python -m pytest -m slurm

lint: setup  ## ruff, mypy, the floors (import-linter), and whether tests import what is there
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -n 0 tests/test_architecture.py

format: setup  ## let ruff rewrite layout and imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## the documentation as a site, in site/index.html
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

golden: setup  ## rewrite tests/golden and the drawing of the rooms; review the diff and note it in CHANGELOG.md
	$(BIN)/python -m pytest tests/test_golden.py tests/test_architecture.py --rewrite-golden

bench: setup  ## time and memory of every backbone and of the hot kernels, for docs/performance.md (PARTS=backbones for one section)
	$(BIN)/python benchmarks/run.py $(if $(PARTS),--parts $(PARTS))

ui: setup  ## MLflow's pages on http://127.0.0.1:5000 (make ui PORT=5001)
	$(BIN)/python -m trustmm ui $(if $(URI),--uri $(URI)) --port $(or $(PORT),5000)

clean:  ## remove the virtual environment and what tools left
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
