# Two commands matter: `make demo` (see it work) and `make test` (see that it works).
# Both make .venv themselves. Another Python: make PYTHON=python3.12 demo

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
QUIET_TESTS := HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
NO_TESTS_IS_FINE := status=$$?; [ $$status -eq 5 ] || exit $$status

.PHONY: demo test check lint fast slow proof bench clean

demo: $(VENV)/.run
	$(BIN)/headstart demo

test: check slow

check: lint fast

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fast: $(VENV)/.dev
	$(QUIET_TESTS) $(BIN)/pytest -n auto --dist loadfile

slow: $(VENV)/.dev
	$(QUIET_TESTS) $(BIN)/pytest -m slow || { $(NO_TESTS_IS_FINE); }

proof: $(VENV)/.dev
	HF_HUB_OFFLINE=1 $(BIN)/pytest -m proof --timeout 3600

bench: $(VENV)/.bench
	for script in benchmarks/bench_*.py; do HF_HUB_OFFLINE=1 $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "headstart needs Python 3.11 or newer: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 3; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "cannot make $(VENV); on Debian: apt install python3-venv"; exit 3; }

$(VENV)/.run: pyproject.toml | $(BIN)/python
	@echo "Installing headstart into $(VENV) (some minutes, once)"
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing headstart and its test tools into $(VENV) (some minutes, once)"
	@$(PIP) -e '.[dev]'
	@$(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torchvision") and \
	  "torchvision was installed by a dependency: it breaks beside a CPU torch")'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	@$(PIP) -e '.[dev,bench]'
	@touch $@
