# Works with GNU make 3.81 (macOS) and later. Everything is installed into a folder of its own.
VENV ?= .venv
PORT ?= 8000
HOST ?= 127.0.0.1
ARGS ?=
PYTEST ?= python -m pytest
BIN := $(VENV)/bin
MODULES := fastapi_memsession pytest_fastapi_memsession.py example_app tests benchmarks .ci

.DEFAULT_GOAL := help
.PHONY: help install run test lint type cover bench measure clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.test $(VENV)/.lint  ## Install the package and all that its development needs

run: $(VENV)/.example  ## Serve the example app; PORT=9000 and MEMSESSION_CARRIER=cookie are honoured
	@HOST=$(HOST) PORT=$(PORT) $(BIN)/python -m example_app

test: $(VENV)/.test  ## Run the tests; ARGS="-k name" selects some
	@$(BIN)/python -m tests.browser.chromium
	@$(BIN)/python -m tests.redis_server
	$(BIN)/$(PYTEST) $(ARGS)

lint: $(VENV)/.lint  ## Check style and format
	$(BIN)/ruff check $(MODULES)
	$(BIN)/ruff format --check $(MODULES)

type: $(VENV)/.test $(VENV)/.lint  ## Check types with mypy and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

cover: $(VENV)/.test  ## Run the tests and show what they do not reach
	@$(MAKE) --no-print-directory test PYTEST="coverage run -m pytest"
	$(BIN)/coverage report

bench:  ## Measure what sessions cost; ARGS="--json FILE --svg FILE", or ARGS=--quick to see it run
	@$(MAKE) --no-print-directory VENV=.venv-bench measure

measure: $(VENV)/.example $(VENV)/.redis $(VENV)/.peers
	@$(BIN)/python -m benchmarks.wrk > /dev/null
	@$(BIN)/python -m tests.redis_server > $(VENV)/redis.txt
	$(BIN)/python -m benchmarks $(ARGS)
	@test ! -s $(VENV)/redis.txt || \
	  $(BIN)/python -m benchmarks.redis_store $(if $(findstring --quick,$(ARGS)),--sessions 500)

clean:  ## Remove what was installed and built
	rm -rf .venv* dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The first Python that is new enough; PYTHON=/path/to/python chooses another.
$(VENV)/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV) && exit 0; \
	    rm -rf $(VENV); \
	    echo "This Python makes no virtual environments; on Debian: apt install python3-venv" >&2; \
	    exit 1; \
	  fi; \
	done; \
	echo "Python 3.11 or newer is needed; make run PYTHON=/path/to/python names one." >&2; exit 1

$(VENV)/.%: $(VENV)/bin/python pyproject.toml
	@echo "Installing what '$*' needs into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Other packages, for `make bench` alone. One by one and bound to what is there: one that does not
# work with it is left out, instead of taking everything back to versions that nobody runs.
$(VENV)/.peers: $(VENV)/.example benchmarks/requirements.txt
	@$(BIN)/python -m pip freeze --exclude-editable > $(VENV)/installed.txt
	@grep -v '^#' benchmarks/requirements.txt | while read -r peer; do \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	    --constraint $(VENV)/installed.txt "$$peer" || echo "Measuring without $$peer"; \
	done
	@touch $@
