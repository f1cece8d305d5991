# The commands of the project; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
PY := $(VENV)/bin/python
TORCH := torch==2.13.0
TRITONS := 3.6.0 3.9.0
FRESH ?= 0

export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export RAY_AUTH_MODE ?= token
export RAY_TRAIN_ENABLE_PREEMPTION_WATCHER ?= 0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO ?= 0
export WANDB_SILENT ?= true

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it or give its path, make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and alone, with its own dependencies; the rest is one complete lock, so that nothing can replace it
$(VENV)/.installed: requirements.lock | $(VENV)/bin/python
	@echo "== installing (once) =="
	$(PY) -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.installed ## create .venv and install the locked requirements

dev: $(VENV)/.installed-dev ## setup, and what tests and checks need

demo: setup ## the whole loop on real data: train, index, evaluate, serve, report (FRESH=1 starts anew)
	@if [ "$(FRESH)" = 1 ]; then rm -rf outputs/demo; fi
	$(PY) -m jobs.pipeline run_dir=outputs/demo scale=demo

# files stay whole, since their tests share what was expensive to make
TEST_WORKERS ?= 2
test: dev ## the tests
	$(PY) -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder

test-slow: dev ## the tests that `make test` leaves out: every problem through `ray job submit`
	$(PY) -m pytest -m slow

check: dev ## style, types, import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-cache
	$(VENV)/bin/pyright

format: dev ## rewrite the code in the project's style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: dev ## speed ratios against peers and limits, in one run
	$(PY) -m bench.run

.data/triton/%/triton/__init__.py: | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target .data/triton/$* triton==$*

kernels: setup $(TRITONS:%=.data/triton/%/triton/__init__.py) ## compile every kernel ahead of time and hold the machine code to its bars
	$(PY) -m bench.kernels_static

SCALE ?= 1m
ann: setup ## index synthetic vectors and measure recall, speed and cost: make ann SCALE=1m|10m|100m
	$(PY) -m bench.ann $(SCALE)

# hnswlib comes as source: it needs a compiler
.data/peers/.installed: | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target .data/peers scann==1.4.2 hnswlib==0.8.0
	@touch $@

bench-ann: setup .data/peers/.installed ## the index beside ScaNN, hnswlib and faiss at a million vectors
	$(PY) -m bench.ann_peers

bench-kernels: dev ## InfoNCE on a CPU: time and memory beside torch's own ways, with a plot
	$(PY) -m bench.kernels_cpu

# any Python with torch, triton, numpy and pytest will do, so that a GPU machine needs nothing installed
GPU_PY ?= $(if $(wildcard $(PY)),$(PY),python3)
gpu: ## the kernels' tests on a GPU, then time and memory against peers and physical limits
	$(GPU_PY) -m bench.kernels_gpu
	$(GPU_PY) -m bench.ops_gpu

ID ?= all
SEEDS ?= 100-104
problem: setup ## run a problem of the catalogue: make problem ID=p17 SEEDS=200-204
	$(PY) -m jobs.problem id=$(ID) seeds=$(SEEDS)

RUN ?= outputs/demo
doctor: setup ## ask every detector about a run: make doctor RUN=outputs/demo
	$(PY) -m jobs.doctor run_dir=$(RUN)

doctor-matrix: setup ## every detector on every problem's faults, rivals and healthy twins
	$(PY) -m jobs.doctor_matrix

pages: setup ## write docs/problems and the README's table from modules and records
	$(PY) -m jobs.pages

wandb-sync: setup ## upload offline runs to Weights & Biases
	$(PY) -m recsys.tracking.sync outputs

lock: ## resolve the declared dependencies anew and write the two lock files
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet $(TORCH) packaging
	$(VENV)-lock/bin/pip install --quiet -e '.[dev]'
	$(VENV)-lock/bin/python docker/lock.py
	rm -rf $(VENV)-lock

clean: ## remove outputs and caches, not .venv nor .data
	rm -rf outputs .cache .pytest_cache .ruff_cache .hypothesis

.PHONY: help setup dev demo test test-slow check format bench ann bench-ann kernels bench-kernels gpu problem doctor doctor-matrix pages wandb-sync lock clean
