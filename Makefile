# Every target makes the virtual environment it needs; a second run reuses it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=
# escnn needs an older numpy, so guests have an environment of their own; the lowest versions have another one.
GUESTS := .venv-guests
LOWEST := .venv-lowest
GUEST_PIP := $(GUESTS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/guests/limits.txt

.DEFAULT_GOAL := help
.PHONY: help demo figures test guests test-guests test-slow test-lowest lint types docs docs-serve screenshots bench paper clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.all ## train on real digits, watch, export and pull the encoder (about a minute)
	$(BIN)/lightning-invariant demo $(ARGS)

figures: demo ## run the demo and keep its figures, its picture and the bundled encoder
	cp runs/demo/results.json runs/demo/hub/embeddings.png hub_configs/digits-c4/
	mkdir -p hub_configs/digits-c4/encoder
	cd runs/demo/hub && cp config.json graph.json certificate.json model.safetensors "$(CURDIR)/hub_configs/digits-c4/encoder/"
	sed 's#(embeddings.png)#(../embeddings.png)#; s#"path/or/repository"#"digits-c4"#' runs/demo/hub/README.md \
	  > hub_configs/digits-c4/encoder/README.md

# One process a core, at most four: each imports PyTorch.
TOGETHER := --numprocesses=auto --maxprocesses=4 --dist=loadfile
test: $(VENV)/.dev ## run the test suite; make test ARGS="-k hub" passes arguments on
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(TOGETHER) $(ARGS)

GUEST_TESTS := tests/guests tests/batch $(addprefix tests/groups/actions/test_,escnn.py networks.py member.py) tests/callback/test_live_loggers.py \
  $(addprefix tests/hub/test_,engines.py onnx_model.py)
guests: $(GUESTS)/.all ## make the environment of the guests' libraries

test-guests: $(GUESTS)/.all ## run what needs escnn, PyTorch Geometric, transformers, SevenNet, or loggers of services
	OMP_NUM_THREADS=1 $(GUESTS)/bin/python -m pytest $(TOGETHER) $(if $(ARGS),$(ARGS),$(GUEST_TESTS))

test-slow: $(VENV)/.dev ## run the long tests too
	$(BIN)/python -m pytest -m "slow or not slow" $(ARGS)

LOWEST_TESTS := tests/batch tests/groups tests/metrics tests/probes tests/quotient tests/tracking tests/test_orbit_layer.py \
  tests/cli tests/hub/test_export.py tests/hub/test_client.py tests/hub/test_graph.py tests/hub/test_artifact.py \
  tests/callback/test_command_line.py tests/callback/test_hub_export.py tests/callback/test_inputs.py
test-lowest: $(LOWEST)/.all ## run a part of the tests with the lowest versions that pyproject.toml admits; needs Python 3.10
	$(LOWEST)/bin/python -m pytest $(if $(ARGS),$(ARGS),$(LOWEST_TESTS))

# The tutorial with escnn runs where `make guests` made an environment, and is shown without outputs elsewhere.
SITE := docs/_build/html
docs: $(VENV)/.docs ## build the documentation, tutorials included; warnings are errors
	$(BIN)/python -m sphinx --fail-on-warning --fresh-env --keep-going --quiet --jobs auto -b html docs $(SITE)
	@echo "open $(SITE)/index.html"

docs-serve: docs ## build the documentation and show it on http://localhost:8000
	$(BIN)/python -m http.server --directory $(SITE) 8000

screenshots: demo ## take the screenshots of docs/dashboard.md from the demo's run
	$(BIN)/python docs/screenshots.py runs/demo

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
	rm -rf $(VENV) $(GUESTS) $(LOWEST) docs/_build runs build dist .pytest_cache .ruff_cache .hypothesis

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

$(VENV)/.docs: $(VENV)/.dev
	@echo "installing what the documentation needs ..."
	$(PIP) --editable ".[docs]"
	@touch $@

$(LOWEST)/.all: pyproject.toml tests/lowest.txt
	@echo "installing lightning-invariant with the lowest versions ..."
	$(shell python3.10 -c "print('python3.10')" 2>/dev/null || echo $(PYTHON)) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint tests/lowest.txt --editable ".[test,onnx]"
	@touch $@

$(GUESTS)/.all: pyproject.toml constraints.txt tests/guests/limits.txt
	@echo "installing lightning-invariant with the libraries that it works with ..."
	$(PYTHON) -m venv $(GUESTS)
	$(GUEST_PIP) "$$(grep -o '^torch==[0-9.]*' constraints.txt)"
	$(GUEST_PIP) --editable ".[all]" lightning pytest pytest-xdist hypothesis ipykernel
	@for guest in torch-geometric transformers egnn-pytorch sevenn kornia wandb mlflow comet-ml litlogger trackio \
	    datasets "ray[data]" "onnx onnxscript onnxruntime" "autograd joblib lie-learn pymanopt scipy" "--no-deps escnn"; do \
	  $(GUEST_PIP) $$guest || echo "$$guest could not be installed: its tests are skipped"; done
	@touch $@
