# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
PY := .venv/bin/python
RUNS ?= runs
RESULTS ?= results
SEEDS := $(shell seq 1 20)
INFORMED := $(foreach a,dnr annealed lookahead patience:1 patience:2 patience:3 patience:4 patience:5,$a@informed)
LINEAR := $(foreach a,lookahead patience:2 patience:4 patience:6 patience:8,$a@linear)
TUNED := $(foreach p,1 2 3 4 5 6,patience:$p) $(LINEAR) $(INFORMED)
OTHERS := stop random dnd dnr halving lucb top-two line:10 lookahead annealed patience:4 patience:8@linear \
	lookahead@linear $(filter-out patience:5@informed,$(INFORMED)) clip-dissect linear constant random-label oracle
SHOWN := stop dnd dnr patience:4 lookahead@linear patience:3@informed lookahead@informed

.PHONY: help demo test lint docs bench bench-gpu results

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/ready  ## Train a policy, compare it with loops and baselines on unseen neurons, end with a table and a report
	$(PY) train.py --mutator informed --out $(RUNS)/demo --seeds 0 1 --steps 80000
	$(PY) evaluate.py compare --agents stop random dnd dnr patience:6 dnr@informed patience:2@informed clip-dissect oracle $(RUNS)/demo --neurons test --seeds 1 2 --out $(RESULTS)/demo

test: .venv/ready lint docs  ## Lint, types, docs and tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2

lint: .venv/ready  ## Format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

docs: .venv/ready  ## Build the documentation
	$(PY) -m sphinx -W -q -b html docs docs/_build/html

bench: .venv/ready  ## Speeds, as ratios within one run
	PYTHONPATH=. $(PY) benchmarks/bench.py

bench-gpu: .venv/ready  ## Speed of the diffusion generator beside a plain loop, on a GPU
	PYTHONPATH=. $(PY) benchmarks/generate.py

results: .venv/ready  ## Repeat the table of the README: five training seeds, all test neurons (ten minutes)
	$(PY) evaluate.py compare --agents $(TUNED) --neurons validation --seeds $(SEEDS) --out $(RESULTS)/tuning
	$(PY) train.py --mutator informed --steps 100000 --out $(RUNS)/ppo
	$(PY) evaluate.py compare --agents $(OTHERS) $(RUNS)/ppo --neurons test --seeds $(SEEDS) --out $(RESULTS)/test
	$(PY) evaluate.py compare --agents $(SHOWN) $(RUNS)/ppo --neurons test --seeds $(SEEDS) --out $(RESULTS)/headline
