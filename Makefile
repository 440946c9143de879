# Each target does its own set-up in .venv; nothing else on the machine is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 8

demo: $(READY)  ## embed the standard library's docstrings on an embedded PostgreSQL and search them
	$(BIN)/pgsbert demo

# files side by side: each process has a server of its own
test: $(READY)  ## run the test suite
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --ignore tests/docker

docker: $(READY)  ## build the images and test them; REQUIRE_DOCKER=1 fails where no engine runs, instead of skipping
	$(BIN)/pytest tests/docker

SECONDS ?= 180
chaos: $(READY)  ## random work under random faults: SECONDS=180 SEED=1; exit code 1 if anything was lost, stale or failed
	$(BIN)/python -m tests.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

lint: $(READY)  ## ruff, mypy --strict, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)  ## run the benchmarks, each against its peer in the same run
	$(BIN)/python -m benchmarks

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,train,django,testing,embedded,dev]'
	touch $(READY)

.PHONY: help demo test docker chaos lint bench
