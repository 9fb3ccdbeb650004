PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2# parallel test processes; 0 runs them in this one
ARGS ?=
DIR ?= ../shared/vectors/stats# a folder of reference vectors
BIN := $(VENV)/bin
LEARNING := bench/quality.py bench/methods.py bench/attention.py
PACKAGES := arms cli market router stats store
MANIFESTS := pyproject.toml client/pyproject.toml

.PHONY: setup demo test learning-full lint audit format bench bench-learning run-benches docs starter-models clean chaos vectors sim-full

setup: $(VENV)/.installed-dev

demo: $(VENV)/.installed
	$(BIN)/abctl demo $(ARGS)

test: setup
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

learning-full: setup
	ABCTL_TEST_LEARNING=full $(BIN)/pytest tests/test_learning.py $(ARGS)

# 200 faults at seconds-long intervals, by a seed that is printed; both can be set: ABCTL_TEST_CHAOS_FAULTS, _SEED.
chaos: setup
	ABCTL_TEST_CHAOS=long $(BIN)/pytest -s --log-cli-level=INFO tests/chaos/test_chaos.py $(ARGS)

# Any folder of vectors in the format of ../shared/vectors/stats/README.md; exits 1 on a number that is neither
# reproduced nor explained by a listed reason.
vectors: setup
	PYTHONPATH=tests/vectors $(BIN)/python -m replay $(DIR)

# Every cell of the simulation with 4,000 runs, into docs/simulation.md: about 25 minutes on two cores.
sim-full: setup
	PYTHONPATH=tests/simulation $(BIN)/python -m trials --write $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/python docs/generate_cli.py --check
	@if $(BIN)/python -c 'import socket; socket.create_connection(("api.osv.dev", 443), 3)' 2>/dev/null; then \
		$(MAKE) --no-print-directory audit; else echo "not audited: api.osv.dev does not answer"; fi

# Asks osv.dev about every installed package. It needs the network, and fails without; lint asks where it answers.
audit: setup
	$(BIN)/python -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet 'pip-audit>=2.9,<3'
	$(VENV)/audit/bin/pip-audit --vulnerability-service osv --skip-editable --progress-spinner off \
		--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" $(ARGS)

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What a machine can do: 20 to 40 minutes. Exits 1 and names the script where a promise was missed.
bench: setup
	@$(MAKE) --no-print-directory run-benches SCRIPTS="$(filter-out $(LEARNING),$(wildcard bench/*.py))"

# What the arms learn, on three seeds: hours.
bench-learning: setup
	@$(MAKE) --no-print-directory run-benches SCRIPTS="$(LEARNING)"

run-benches:
	@failed=; for script in $(SCRIPTS); do \
		echo "== $$script"; $(BIN)/python $$script $(ARGS) || failed="$$failed $$script"; \
	done; test -z "$$failed" || { echo "a promise was missed, or it could not run:$$failed" >&2; exit 1; }

docs: setup
	$(BIN)/python docs/generate_cli.py

starter-models: setup
	$(BIN)/abctl model starters $(ARGS)

clean:
	rm -rf $(VENV) build dist .demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(PACKAGES) client tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "abctl needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' || \
		{ echo "$(PYTHON) cannot make virtual environments: install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(MANIFESTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ./client --editable '.[train]'
	@touch $@

$(VENV)/.installed-dev: $(MANIFESTS) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ./client --editable '.[train,dev]'
	@touch $@ $(VENV)/.installed
