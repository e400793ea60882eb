# Needs Python 3.11 or newer and make; everything else is installed into .venv from the lock.
PYTHON ?= python3
BIN := .venv/bin
# One process more than there are cores, since tests wait for servers now and then.
PROCESSES ?= $(shell $(PYTHON) -c "import os; print((os.cpu_count() or 1) + 1)")
PARALLEL = -n $(PROCESSES) --dist loadfile
# Bytecode saves seconds at every start of Airflow.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo up up-celery test test-fast test-full test-ui screenshots docs lint format types layers unit lock matrix matrix-lock build clean

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## Install everything into .venv
	@$(PYTHON) tools/bootstrap.py

demo: setup ## Run the quickstart DAG in a real Airflow, through expiry, revocation and key rotation
	@$(BIN)/python tools/demo.py

up: setup ## Keep Airflow, Vault and the local Bloq service running until Ctrl-C
	@$(BIN)/python tools/demo.py --up

up-celery: setup ## The same with PostgreSQL, Redis and two Celery workers
	@$(BIN)/python tools/demo.py --up --celery

test: lint types layers unit ## Everything that a change must pass

test-fast: setup ## The tests of pure logic alone, in less than a minute
	$(BIN)/python -m pytest $(PARALLEL) -q -m logic tests

test-full: docs test-ui ## The slower suites: documentation, web page, executors, packages
	$(BIN)/python -m pytest -m slow --ignore=tests/ui --ignore=tests/airflow --ignore=tests/fleet_airflow
	$(BIN)/python -m pytest -m slow tests/airflow
	$(BIN)/python -m pytest -m slow tests/fleet_airflow

test-ui: setup ## The UI in a real browser; the pictures go to build/screenshots
	$(BIN)/python -m pytest -m slow tests/ui

screenshots: setup ## The same, and the pictures go to the documentation
	BLOQ_SCREENSHOTS=docs/images $(BIN)/python -m pytest -m slow tests/ui

docs: setup ## Build the site of the documentation into build/docs
	$(BIN)/sphinx-build -q -E -W --keep-going -c docs -b html . build/docs

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup ## Put the code into its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: setup
	$(BIN)/mypy

layers: setup
	$(BIN)/python tools/layers.py

# Airflow in a process of its own: it changes settings of the interpreter, such as the recursion limit.
unit: setup
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not compat" --ignore=tests/airflow
	$(BIN)/python -m pytest -m "not slow" tests/airflow

lock: setup ## Make the lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet --output-file requirements/dev.txt

matrix: setup ## Run the tests marked compat on each supported Airflow and Python; CELLS="name ..." for some
	$(BIN)/python tools/matrix.py $(CELLS)

matrix-lock: setup ## Make the locks of the matrix anew
	$(BIN)/python tools/matrix.py --lock $(CELLS)

build: setup ## Build wheel and sdist
	$(BIN)/python -m hatchling build

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache
