# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: demo test lint clean

# The stamps make a second call skip the installation until pyproject.toml changes.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet torch==2.13.0  # the PyTorch that parity is tested against
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'jax2onnx>=0.17.1'  # its other requirements are large, and not needed here
	touch $@

demo: $(VENV)/installed  ## p-MLKD's graph of three networks on the embedded synthetic data
	$(BIN)/python -m lrhnet_jax.main --config=configs/pmlkd.py:preset=demo,leads=2 --workdir=runs/demo

test: $(VENV)/installed-test  ## lint, type check and the whole test suite
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
