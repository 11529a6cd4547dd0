# make demo: the main job on the packaged digits.  make test: every test.  Both build .venv when it is missing or outdated.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install -q -c constraints.txt
RUN := runs/demo

.PHONY: demo test lint bench clean

demo: $(VENV)/.installed
	rm -rf $(RUN)
	$(BIN)/neurodeploy search --target loihi2 --out $(RUN)
	$(BIN)/neurodeploy validate $(RUN)/bundle

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	@ls benchmarks/bench_*.py >/dev/null
	@set -e; for file in benchmarks/bench_*.py; do echo "== $$file"; $(BIN)/python $$file || [ $$? = 5 ]; done

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neurodeploy needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[dev]'
	@# spikingjelly asks for torchvision, which the pinned torch has no build of and which it needs nowhere; its tests skip without it.
	-$(PIP) --no-deps 'spikingjelly>=2.0'
	@touch $@ $(VENV)/.installed
