# Every command of the project. `make` lists them.

VENV   := .venv
BIN    := $(VENV)/bin
# The first of these that runs and is 3.11 or later; another one with PYTHON=….
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
# A folder of wheels, when filled, is preferred to the package index.
WHEELS := $(if $(wildcard wheels/*.whl),--find-links wheels)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(WHEELS)

.DEFAULT_GOAL := help
.PHONY: help demo up test faults soak gpu check format bench bench-techniques bench-ensembles screenshots vendor migrate \
	revision compose-test compose-storm clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## start everything, train a snapshot ensemble, show the result
	@$(BIN)/annealer demo examples/snapshot-ensemble.yaml

up: $(VENV)/.installed  ## run the service here until Ctrl-C
	@$(BIN)/annealer up

test: $(VENV)/.installed-dev  ## every test, on real servers
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

gpu: $(VENV)/.installed-dev  ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

check: $(VENV)/.installed-dev  ## format, lint, types, who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## put the code into the format that `check` asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## speed, as ratios within one run
	$(BIN)/python -m benchmarks

bench-techniques: $(VENV)/.installed-dev  ## what each technique buys, over seeds; options=--quick for minutes
	$(BIN)/python -m benchmarks.techniques $(options)

bench-ensembles: $(VENV)/.installed-dev  ## which ensembles pay, over seeds; options=--quick for minutes
	$(BIN)/python -m benchmarks.ensembles $(options)

screenshots: $(VENV)/.installed-dev  ## make the pictures of docs/dashboard.md again (needs Chromium)
	$(BIN)/python -m tests.web.screenshots

vendor: $(VENV)/.installed-dev  ## fetch the scripts of others again, as pinned in tests/web/vendor.py (needs npm)
	$(BIN)/python -m tests.web.vendor

faults: $(VENV)/.installed-dev  ## break everything on purpose: each fault alone, then a storm; minutes=10, seed=…, options=…
	$(BIN)/python -m pytest tests/faults tests/hostile -m 'faults or not faults'
	$(BIN)/python -m tests.faults.storm --minutes $(or $(minutes),10) $(if $(seed),--seed $(seed)) $(options)

compose-storm: $(VENV)/.installed-dev  ## the storm on the compose deployment (needs Docker); minutes=10, seed=…
	$(BIN)/python -m tests.faults.storm --compose --minutes $(or $(minutes),10) $(if $(seed),--seed $(seed))

soak: $(VENV)/.installed-dev  ## a small job every two seconds, and whether memory and files stay flat; minutes=10
	$(BIN)/python -m tests.faults.soak --minutes $(or $(minutes),10)

migrate: $(VENV)/.installed  ## bring the database at ANNEALER_DATABASE_URL up to date
	$(BIN)/annealer migrate

revision: $(VENV)/.installed-dev  ## write a migration from the models: make revision m="what changes"
	@test -n "$(m)" || { echo 'Say what changes: make revision m="add a column for …"'; exit 1; }
	$(BIN)/python -m migrations "$(m)"

compose-test:  ## try the compose deployment for real (needs Docker)
	tests/compose.sh

clean:  ## remove the environment and caches; data folders stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Annealer needs Python 3.11 or later; none is on the PATH."; exit 1; }
	@echo "Creating the environment in $(VENV) with $(PYTHON) …"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "$(PYTHON) has no working venv; install it \
	(Debian and Ubuntu: python3-venv) or name another one with PYTHON=…"; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what Annealer needs (a minute or two the first time) …"
	@$(PIP) --editable '.[embedded]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the tests need …"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed
