PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PIP := PYTHONWARNINGS='ignore:Editable installation' $(RUN) -m pip install --quiet# setuptools warns of every one
QUICK := oracles kernels inputs report project # folders of tests; those of stores, commands and frameworks take longer

.PHONY: setup sweep test check gpu lint bench ui clean
.DEFAULT_GOAL := setup

setup: $(INSTALLED) ## an environment with adamx and all that its tests need

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) --editable '.[dev]'
	@touch $@

sweep: $(INSTALLED) ## the main job: the default grid; ARGS='problem=beale optimizer.eps=log:1e-12:1:25' for another
	$(RUN) -m adamx.sweep $(ARGS)

test: $(INSTALLED)
	$(RUN) -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(ARGS)

check: lint ## lint, types, and the tests that compile nothing: under 2 minutes on 2 cores
	$(RUN) -m pytest -q -n auto --maxprocesses 4 --compile-nothing $(QUICK:%=tests/%) $(ARGS)

gpu: $(INSTALLED) ## the CUDA kernels on this machine's GPU, or with NUMBA_ENABLE_CUDASIM=1 in Numba's simulator
	$(PIP) --editable '.[cuda]'
	$(RUN) -m pytest -q -n auto --maxprocesses 4 tests/gpu $(ARGS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(INSTALLED) ## peers (torch, jax, optax) are measured where they are installed: pip install -e '.[peers]'
	$(RUN) experiments/bench_kernels.py
	$(RUN) experiments/bench_record.py
	$(RUN) experiments/bench_sweep.py
	$(RUN) experiments/bench_rules.py

ui: $(INSTALLED) ## MLflow's pages on what was swept here, for this machine only
	$(VENV)/bin/mlflow ui --host 127.0.0.1

clean: ## the environment, compiled kernels and caches; recorded runs stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
