# Everything runs in .venv, which the first command makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup browser demo test test-stock test-oldest test-newest torture lint format docs clean

help:  ## Say what there is to make.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,dev]'
	@touch $(READY)

setup: $(READY)  ## Install everything into .venv.

browser:  ## Install Debian's Chromium, with which the hub's pages are tested.
	apt-get install --yes chromium chromium-driver

demo: $(READY)  ## Train, publish, fuse and predict on real text: under 6 minutes on 2 cores.
	$(BIN)/python examples/sentiment_demo.py

test: $(READY)  ## Run the tests.
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

torture: $(READY)  ## Kill processes 1,000 times and feed 1 M cases to each parser: an hour on 2 cores.
	$(BIN)/python -m pytest -m torture --numprocesses 2 --dist worksteal

test-stock: $(READY)  ## Test what hubkit writes with the `adapters` library, in its own environment.
	$(BIN)/python -m pytest -m own_environment

test-oldest test-newest: test-%:  ## Run the tests with the oldest, or the newest, versions supported.
	$(PYTHON) -m venv $(VENV)-$*
	$(VENV)-$*/bin/python -m pip install --quiet --disable-pip-version-check $(if $(filter oldest,$*),--constraint constraints-oldest.txt,--upgrade) --editable '.[demo,dev]'
	$(VENV)-$*/bin/python -m pytest --numprocesses 2 --dist worksteal

docs: $(READY)  ## Build the documentation into site/; fails on a dead link.
	$(BIN)/mkdocs build --strict

lint: $(READY)  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Mend what a program can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## Remove .venv and what the demo wrote.
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest demo-output site
