# Everything a fresh machine needs is set up on the way: `make demo` or `make test` is the whole installation.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Where it is set, as in many container images, each process compiles all of torch again: 3 of the 6 CPU seconds of its import.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
# Named after the folder, since an environment that was moved or copied along with it still runs the code of the old place.
READY := .venv/ready-$(shell pwd | cksum | cut -d ' ' -f 1)
DOCS_READY := $(subst ready,docs,$(READY))
PICTURES := build/pictures/dashboard.png
PYTEST_ARGS ?=
# With three on two cores the same took a tenth less time, and a test of speeds that are only just reached failed.
WORKERS ?= 2
export PATH := $(PATH):/usr/local/go/bin
KUBO := .nodes/ipfs
HORNET := .nodes/hornet
# What was built here is used by what is typed here; no program looks for it by itself.
export LEARNAE_KUBO := $(or $(LEARNAE_KUBO),$(wildcard $(CURDIR)/$(KUBO)))
export LEARNAE_HORNET := $(or $(LEARNAE_HORNET),$(wildcard $(CURDIR)/$(HORNET)))
# Tests that need a real daemon are skipped where there is no Go; the last lines of the run say so.
NODES := $(if $(shell PATH="$(PATH)" command -v go),$(KUBO) $(HORNET))

.PHONY: help
help:  ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: demo
demo: $(READY)  ## four peers learn to read digits, and one is killed half-way
	@$(BIN)/learnae demo

.PHONY: reproduce
reproduce: $(READY)  ## the acceptance table of the merge rules, ours beside the reference; most of an hour
	@$(BIN)/python bench/reproduce.py

.PHONY: test
test: $(READY) $(NODES)  ## all tests; the last lines say what this machine could not run
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal -p tests.support.cpu_cost $(PYTEST_ARGS)

.PHONY: quick
quick: $(READY) $(NODES)  ## the tests that take no more than a few seconds each
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal -p tests.support.cpu_cost -m "not slow" $(PYTEST_ARGS)

.PHONY: check
check: $(READY)  ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(READY)  ## put the code in the agreed form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: fuzz
fuzz: $(READY)  ## a million hostile inputs for each decoder
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/uv pip install --quiet --python $(BIN)/python atheris
	@$(BIN)/python tools/fuzz.py

.PHONY: kernels
kernels: $(READY)  ## whether the compiled inner loops give the bits of numpy's, on a million random pieces
	@PYTHONPATH=. $(BIN)/python tools/compare_kernels.py

.PHONY: reference
reference: $(READY)  ## write docs/reference/ from the code
	$(BIN)/python tools/reference.py

.PHONY: pictures
pictures: $(READY)  ## the pictures of the documents, of a demo in Chromium, in build/pictures; two minutes
	@$(BIN)/python tools/pictures.py build/pictures

# Where there is no browser, and where a demo does not end well, the documents have none.
$(PICTURES): $(wildcard learnae/cli/dashboard/*.py learnae/cli/dashboard/page/*) tools/pictures.py | $(READY)
	@$(BIN)/python tools/pictures.py build/pictures || echo "docs: without pictures" >&2

.PHONY: docs
docs: $(DOCS_READY) $(if $(shell command -v chromium),$(PICTURES))  ## the documents as a site in build/docs/html, with every link checked
	@$(BIN)/sphinx-build --quiet --fresh-env --nitpicky --fail-on-warning --keep-going --conf-dir docs --doctree-dir build/docs/doctrees . build/docs/html
	@echo "docs: open build/docs/html/index.html"

# Tests need none of it, so it is not in set-up.
$(DOCS_READY): $(READY)
	@echo "docs: installing what builds the site"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --group docs || \
		$(BIN)/pip install --quiet --constraint constraints.txt --group docs
	@touch $@

.PHONY: constraints
constraints: $(READY)  ## take the newest versions of everything we build on
	$(BIN)/uv pip compile pyproject.toml plugins/iota/pyproject.toml plugins/ipfs/pyproject.toml plugins/libp2p/pyproject.toml tools/bootstrap.in tools/pyota.in \
		examples/flights/requirements.txt --overrides tools/pyota-overrides.in --overrides tools/flights-overrides.in \
		--extra torch --extra dashboard --extra demo --extra tables --extra feed --group dev --group docs --python-version 3.11 \
		--upgrade --no-emit-package learnae --no-header --no-annotate --no-emit-index-url --quiet --output-file constraints.new
	@{ sed '/^[^#]/,$$d' constraints.txt; cat constraints.new; } > constraints.both
	@rm constraints.new && mv constraints.both constraints.txt

.PHONY: nodes
nodes: $(KUBO) $(HORNET)  ## build the real daemons that tests run against

$(KUBO): tools/kubo/go.mod tools/kubo/go.sum tools/build-node
	@tools/build-node kubo github.com/ipfs/kubo/cmd/ipfs $@

$(HORNET): tools/hornet/go.mod tools/hornet/go.sum tools/build-node
	@tools/build-node hornet github.com/gohornet/hornet $@

.PHONY: setup
setup: $(READY)  ## only the environment in .venv

$(READY): pyproject.toml plugins/iota/pyproject.toml plugins/ipfs/pyproject.toml plugins/libp2p/pyproject.toml constraints.txt tools/bootstrap.in tools/pyota.in tools/byzfl.in examples/flights/requirements.txt tools/set-up kernels/pyproject.toml kernels/Cargo.toml kernels/Cargo.lock $(wildcard kernels/src/*.rs)
	@tools/set-up $@

.PHONY: clean
clean:  ## remove the environment and all that tools left behind
	rm -rf .venv .*_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
