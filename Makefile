# Every target makes the virtual environment it needs; a second run reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=
# escnn needs an older numpy, so guests have an environment of their own.
GUESTS := .venv-guests
GUEST_PIP := $(GUESTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/guests/limits.txt

.DEFAULT_GOAL := help
.PHONY: help demo figures test test-guests test-slow lint types bench paper clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.all ## train on real digits, watch, export and pull the encoder (about a minute)
	$(BIN)/lightning-invariant demo $(ARGS)

figures: demo ## run the demo and keep its figures, its picture and the bundled encoder
	cp runs/demo/results.json runs/demo/hub/embeddings.png hub_configs/digits-c4/
	mkdir -p hub_configs/digits-c4/encoder
	cd runs/demo/hub && cp config.json graph.json certificate.json model.safetensors "$(CURDIR)/hub_configs/digits-c4/encoder/"
	sed 's#(embeddings.png)#(../embeddings.png)#; s#"path/or/repository"#"digits-c4"#' runs/demo/hub/README.md \
	  > hub_configs/digits-c4/encoder/README.md

test: $(VENV)/.dev ## run the test suite; make test ARGS="-k hub" passes arguments on
	$(BIN)/python -m pytest $(ARGS)

GUEST_TESTS := tests/guests tests/batch $(addprefix tests/groups/actions/test_,escnn.py networks.py member.py) tests/callback/test_live_loggers.py
test-guests: $(GUESTS)/.all ## run what needs escnn, PyTorch Geometric, transformers, SevenNet, or loggers of services
	$(GUESTS)/bin/python -m pytest $(if $(ARGS),$(ARGS),$(GUEST_TESTS))

test-slow: $(VENV)/.dev ## run the long tests too
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

lint: $(VENV)/.dev ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## check types
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.dev ## run the benchmarks; ESCNN_PYTHON=path measures beside escnn too
	$(BIN)/python -m benchmarks.projections
	$(BIN)/python -m benchmarks.probes
	$(BIN)/python -m benchmarks.quotient
	$(BIN)/python -m benchmarks.projector
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.resilience
	$(BIN)/python -m benchmarks.artifact
	$(BIN)/python -m benchmarks.epochs $(ARGS)
	$(BIN)/python -m benchmarks.peers $(if $(ESCNN_PYTHON),--escnn-python "$(ESCNN_PYTHON)")
	$(if $(ESCNN_PYTHON),"$(ESCNN_PYTHON)" -m benchmarks.convolutions)

paper: $(VENV)/.dev ## the recipes' tables with five seeds: hours; ARGS="--quick --data-dir FOLDER" for minutes
	$(BIN)/python -m benchmarks.paper $(ARGS)

clean: ## remove the environment and what runs left
	rm -rf $(VENV) $(GUESTS) runs build dist .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.all: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing lightning-invariant with what the demo needs ..."
	$(PIP) --editable ".[all]"
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml constraints.txt
	@echo "installing lightning-invariant with what the tests need ..."
	$(PIP) --editable ".[dev]"
	@touch $@ $(VENV)/.all

$(GUESTS)/.all: pyproject.toml constraints.txt tests/guests/limits.txt
	@echo "installing lightning-invariant with the libraries that it works with ..."
	$(PYTHON) -m venv $(GUESTS)
	$(GUEST_PIP) "$$(grep -o '^torch==[0-9.]*' constraints.txt)"
	$(GUEST_PIP) --editable ".[all]" lightning pytest hypothesis
	@for guest in torch-geometric transformers egnn-pytorch sevenn kornia wandb mlflow comet-ml litlogger trackio \
	    "autograd joblib lie-learn pymanopt scipy" "--no-deps escnn"; do \
	  $(GUEST_PIP) $$guest || echo "$$guest could not be installed: its tests are skipped"; done
	@touch $@
