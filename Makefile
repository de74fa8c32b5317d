# Every target sets up what it needs, in a virtual environment of its own: Python 3.11 or newer, git and make are enough.

PYTHON  ?= python3
VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
SAMPLES := build/samples-venv
SITE    := build/site-venv
ENGINES := build/engines-venv

DEMO    ?= sample_models/wide_deep_vanilla.onnx
USER    ?= user_*
GRAPHS  ?= 50000
FILES   ?= 20000
RUNS    ?= 200
PART    ?= 1/1

.DEFAULT_GOAL := help
.PHONY: help demo test check check-versions format samples docs screenshots site corpus suite engines fuzz fuzz-files mutate alarms memory bench release-check clean

help: ## Show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(READY) ## Optimize a sample model, verify it and show the report (DEMO=file.onnx USER='user_*')
	@mkdir -p build
	$(BIN)/mari-onnx optimize $(DEMO) build/demo.onnx -u '$(USER)' --overwrite

test: $(READY) ## Run the tests, the fast ones of each kind
	$(BIN)/python -m pytest -n 2 tests

check: $(READY) ## Lint, check the formatting, the types and the links of the documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m docs.links

check-versions: ## Run the tests on every supported Python and on the oldest dependencies (PYTHON_3_12=path)
	$(PYTHON) -m tests.versions

format: $(READY) ## Format the code and fix what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

samples: $(SAMPLES)/.ready ## Make the sample models again, from the libraries that they come from
	$(SAMPLES)/bin/python sample_models/make_samples.py

docs: $(READY) ## Write what is generated in README.md and docs again
	$(BIN)/python -m docs.generate

screenshots: $(READY) ## Take the pictures of a page in docs again (Chromium)
	$(BIN)/python -m docs.screenshots

site: $(SITE)/.ready ## Build the documents as a web site in build/site, and fail on any warning
	NO_MKDOCS_2_WARNING=1 $(SITE)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

corpus: $(READY) ## Run the corpus of real exports at full length (minutes)
	MARI_ONNX_CORPUS=full $(BIN)/python -m pytest -n 2 tests/corpus

suite: $(READY) ## Run onnx's own tests and models in packages through optimize, as ranking models (PART=1/20)
	$(BIN)/python -m tests.suite --download --part $(PART)

engines: $(ENGINES)/.ready ## Run the tests of replays on Ray and Dask (minutes; 0.7 GB of disk)
	$(ENGINES)/bin/python -m pytest tests/traffic/engines tests/traffic/test_killed.py

fuzz: $(READY) ## Check the invariant on many random graphs, all operators and forms (GRAPHS=50000)
	$(BIN)/python -m tests.property.fuzz $(GRAPHS) --complete

fuzz-files: $(READY) ## Run commands on damaged files, and end them while they write (FILES=20000)
	$(BIN)/python -m tests.files.fuzz $(FILES)
	$(BIN)/python -m tests.files.kill 200

mutate: $(READY) ## Damage the sample models and see whether the verification sees it (minutes)
	$(BIN)/python -m tests.verification.mutate --write

alarms: $(READY) ## Verify the optimized models with many seeds: there must be no alarm (minutes; RUNS=200)
	$(BIN)/python -m tests.verification.alarms $(RUNS)

memory: $(READY) ## Measure the memory of commands on models of 1 to 2 GB (minutes; 6 GB of memory, 4 GB of disk)
	$(BIN)/python -m tests.memory

bench: $(READY) ## Measure the sample models before and after, on this machine
	$(BIN)/python -m benchmarks

release-check: $(READY) ## Build the wheel and the sdist, install each in a fresh environment, and try it
	$(BIN)/python -m tests.release

clean: ## Remove everything that was made here
	rm -rf build dist $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mari-onnx needs Python 3.11 or newer: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(SAMPLES)/.ready: sample_models/requirements.txt
	$(PYTHON) -m venv $(SAMPLES)
	$(SAMPLES)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(ENGINES)/.ready: pyproject.toml
	$(PYTHON) -m venv $(ENGINES)
	$(ENGINES)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dask,ray]' 'pytest>=8.2'
	@touch $@

$(SITE)/.ready: docs/requirements.txt
	$(PYTHON) -m venv $(SITE)
	$(SITE)/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
