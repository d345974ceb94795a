# Two commands do everything on a fresh machine: `make demo` and `make test`. Before a commit: `make check`.

# The newest Python that is there and runs; pyenv leaves commands behind that only fail.
ifndef PYTHON
PYTHON := $(shell for python in python3.13 python3.12 python3; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
endif
VENV ?= .venv
BIN   = $(VENV)/bin
# What parity is tested against. Not on other Pythons: its wheels there, with CUDA's libraries, are several GB.
TORCH ?= $(shell $(PYTHON) -c 'import sys; print("torch==2.13.0" if sys.version_info[:2] == (3, 11) else "")')

.PHONY: demo check test lint clean

# The stamps make a second call skip the installation until pyproject.toml changes.
$(VENV)/installed: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: no Python of 3.11 or later; name one: make PYTHON=PATH'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(if $(TORCH),$(BIN)/python -m pip install --quiet $(TORCH),@echo 'without PyTorch: the tests of parity are skipped')
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'jax2onnx>=0.17.1'  # its other requirements are large, and an older orbax
	touch $@

demo: $(VENV)/installed  ## p-MLKD's graph of three networks on the embedded synthetic data
	$(BIN)/lrhnet-jax train --config=pmlkd:preset=demo,leads=2 --workdir=runs/demo

check: $(VENV)/installed-test  ## lint, types, and the tests that are not slow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test: $(VENV)/installed-test  ## lint, types, and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

clean:
	rm -rf runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache
