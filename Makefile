# `make demo` runs the main methods of the embedded benchmark from nothing; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

DEMO_STAMP := $(VENV)/.installed-demo
DEV_STAMP := $(VENV)/.installed-dev
INSTALL = $(BIN)/python -m pip install --quiet --no-compile -c constraints.txt -e
# Bytecode is written once, on all cores. Where Python does not write it later, every job of the
# workflow would otherwise compile all that it imports. Some packages hold files for other versions
# of Python, which cannot be compiled and are not needed.
COMPILE = $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib scwm || true
WORKFLOW_REPORT := results/workflow_report.html
COMPONENT_TESTS := \
  $(patsubst %,tests/method/test_%.py,memory objective losses parsing foreground pixels pseudo_labels) \
  $(patsubst %,tests/evaluation/test_%.py,ranking measures quality)

.DEFAULT_GOAL := help
.PHONY: help demo benchmark report record partial ablation-check component-tests gpu-check slurm-check browser-check \
  dag dry-run bench test lint docs format pins clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(DEMO_STAMP)  ## install, run the embedded benchmark, list its results
	snakemake --cores all
	@echo
	@cat results/summary.md
	@echo "tables  results/tables/{claims,main,ablation}.md (also .csv, .html, .tex)"
	@echo "plots   results/plots/*.png (also .svg)"
	@echo "report  results/report.html: open it in a browser"

benchmark: $(DEMO_STAMP)  ## every method and ten seeds, which decide the claims, in 5 to 13 hours on 2 cores
	snakemake --cores all --configfile config/benchmark.yaml
	python -m scwm check results/tables/claims.csv

report: $(WORKFLOW_REPORT)  ## write Snakemake's own report of the embedded benchmark

$(WORKFLOW_REPORT): $(wildcard results/tables/*.html results/plots/*.png) | $(DEMO_STAMP)
	@test -d results/tables || { echo "no tables yet: run make demo first" >&2; exit 1; }
	snakemake --report $@

record: $(DEMO_STAMP)  ## copy tables and figures of a finished benchmark to results/recorded, for a commit
	python tools/record.py

partial: $(DEMO_STAMP)  ## tables and plots of the runs that exist, in results/partial
	snakemake --cores 1 partial

ablation-check: component-tests  ## check in minutes that every component does its work
	snakemake --cores all --configfile config/ci.yaml
	python -m scwm check results/ci/tables/claims.csv

component-tests: $(DEV_STAMP)  ## run only its tests, of the components and of the scores
	OMP_NUM_THREADS=1 pytest -q $(COMPONENT_TESTS)

gpu-check:  ## run tests, speed and Market-1501 on a GPU in 12 minutes with $(PYTHON); install nothing
	$(PYTHON) -m benchmarks.gpu_check $(OPTIONS)

slurm-check: $(DEV_STAMP)  ## run the workflow through SLURM, on a cluster of only this machine
	python tests/slurm/check.py

browser-check: $(DEV_STAMP)  ## load the pages in Chromium, wide and narrow, light and dark
	PYTHONPATH=tests/helpers python tests/browser/check.py $(OPTIONS)

dag: $(DEMO_STAMP)  ## print the graph of rules in Graphviz's dot language
	@snakemake --quiet all --rulegraph

dry-run: $(DEMO_STAMP)  ## build the paper's graph, run nothing, list missing data
	snakemake --dry-run --quiet rules --configfile config/paper.yaml

bench: $(DEMO_STAMP)  ## measure every stage and a plain reference, in about half an hour
	python -m benchmarks

test: $(DEV_STAMP)  ## run the tests, and those of a GPU on a pretended one
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE pytest -n 2
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE pytest -n 2 --pretended-gpu tests/gpu

lint: $(DEV_STAMP)  ## check style, types and workflow
	ruff check .
	ruff format --check .
	mypy scwm tests
	snakefmt --check workflow
	snakemake --lint

docs: $(DEV_STAMP)  ## build the site of README and docs/ in build/docs; a warning fails
	OMP_NUM_THREADS=1 sphinx-build -W --keep-going -q docs build/docs

format: $(DEV_STAMP)  ## rewrite the code in the project's style
	ruff check --fix .
	ruff format .
	snakefmt workflow

pins: $(DEV_STAMP)  ## write constraints.txt again from the installed packages
	$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable | LC_ALL=C sort -f > constraints.txt

clean:  ## remove results, training state, the workflow's records and the site; keep data
	find results -mindepth 1 -maxdepth 1 ! -name recorded -exec rm -rf {} +
	rm -rf .scwm .snakemake build

distclean: clean  ## also remove data and the environment
	rm -rf data $(VENV) *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(DEMO_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing scwm and what it needs into $(VENV) (2 to 5 minutes)"
	@$(INSTALL) '.[workflow,faiss-cpu]'
	@$(COMPILE)
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing scwm and its development tools into $(VENV) (2 to 5 minutes)"
	@$(INSTALL) '.[workflow,faiss-cpu,dev]'
	@$(COMPILE)
	@touch $@ $(DEMO_STAMP)
