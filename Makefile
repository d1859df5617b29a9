# Two commands do everything on a fresh machine: make demo, make test.
PYTHON ?= python3
PY := .venv/bin/python
RUNS ?= runs
RESULTS ?= results

.PHONY: help demo test test-oldest lint docs bench bench-gpu worlds study publish

help:  ## Show what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --resume-retries 50 --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: .venv/ready  ## Train a policy, compare it with loops and baselines on unseen neurons, end with a table and a report
	.venv/bin/dnr-train --mutator informed --clone improve:8 --stack shapes --score grounded_k --user-concepts none --learning-rate 0.0003 --entropy 0.002 --out $(RUNS)/demo --seeds 0 --steps 20000
	.venv/bin/dnr compare --agents stop dnd dnr dnr@informed clip-dissect:50:1:1 linear-joined promise oracle shortlist:3 gradient:8 learned $(RUNS)/demo --neurons test --seeds 1 2 --out $(RESULTS)/demo

test: .venv/ready lint docs  ## Lint, types, docs and tests
	OMP_NUM_THREADS=1 $(PY) -m pytest -q -n 2

test-oldest:  ## The tests with the oldest dependencies that are supported, in an environment of their own
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[dev]'
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -q -n 2

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

worlds: .venv/ready  ## Train the networks of the world scenes anew, into $(RESULTS)/worlds (about 36 minutes)
	mkdir -p $(RESULTS)/worlds
	$(PY) -m dnr_env.scenes.target_train --architecture plain --seed 0 --out $(RESULTS)/worlds/target-plain.safetensors
	$(PY) -m dnr_env.scenes.target_train --architecture residual --seed 1 --out $(RESULTS)/worlds/target-residual.safetensors
	$(PY) -m dnr_env.scenes.target_train --architecture depthwise --seed 2 --out $(RESULTS)/worlds/target-depthwise.safetensors
	$(PY) -m dnr_env.scenes.sae_train --out $(RESULTS)/worlds/sae.safetensors
	$(PY) -m dnr_env.scenes.clip_train --seed 0 --out $(RESULTS)/worlds/clip.safetensors

study: .venv/ready  ## Repeat the study of docs/explanation/results.md: tune, train, compare, transfer, ablate, in both worlds
	PYTHONPATH=. $(PY) benchmarks/study.py --out $(RESULTS)/study

publish:  ## Put the tables and plots of the study into the documentation, and its policy into the package
	cp $(RESULTS)/study/report/*.md $(RESULTS)/study/report/*.png docs/study/
	cp $(RESULTS)/study/report/learned/* agents/learned/shipped/
