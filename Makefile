# Everything a contributor needs. Wants git, make and Python 3.11+; everything else is fetched into .venv.
# Plain POSIX sh and GNU make 3.81 (what macOS ships), so no .ONESHELL and no grouped targets.

VENV   := .venv
BIN    := $(VENV)/bin
# Our own distributions: the core, and every folder beside it that has a pyproject.toml.
OURS   := $(wildcard yadtq_builtin_tasks/pyproject.toml plugins/*/pyproject.toml)
LOCAL  := plugins/yadtq_local/pyproject.toml
EDITABLE := -e . $(patsubst %/pyproject.toml,-e ./%,$(OURS))

# What `demo` and `dev` need: all of `setup` where that was made, else only what runs, which is quickly fetched.
TO_RUN := $(if $(wildcard $(VENV)/.installed),setup,$(VENV)/.$(if $(KAFKA),kafka,demo))

# The tests start hundreds of Python processes. Where bytecode is not kept (containers often say so), each of them
# compiles all that it imports: 0.15 s of 0.7 s for a worker (measured).
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo dev check format test test-fast simulate answers new-plugin bench faults docs lock fetch clean

help: ## show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with the locked versions and our own packages, editable

demo: $(TO_RUN) ## see it work, on services that start here (KAFKA=1: on a real Kafka)
	@$(BIN)/yadtq demo $(if $(KAFKA),--kafka)

dev: $(TO_RUN) ## the local stack and a worker in the foreground (KAFKA=1; MODULES="shop"): other terminals find it
	@$(BIN)/yadtq dev $(MODULES) $(if $(KAFKA),--kafka)

check: setup ## format, lint, types and import contracts (under 30 s)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## put the code into its format and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Where Kafka cannot be fetched the tests say so themselves: skipped here, failed where CI is set.
test: setup ## every test, on a real Kafka and a real Valkey that the tests start themselves
	@test -n "$$YADTQ_TEST_KAFKA" || $(BIN)/python -m yadtq_local || true
	$(BIN)/python -m pytest

test-fast: setup ## the quick tests that need no service (under 20 s)
	$(BIN)/python -m pytest -m "not kafka and not redis and not slow" --hypothesis-profile=fast tests/unit tests/docs $(wildcard yadtq_builtin_tasks/tests plugins/*/tests)

simulate: setup ## 2,000 histories of the protocol under a virtual clock (MUTANTS=1: deliberate errors, each caught)
	@$(BIN)/python -m verification.simulation $(if $(MUTANTS),--mutants,--seeds 2000)

answers: setup ## what is answered to bad input and to dead services, tried, as a table
	@$(BIN)/python -m tests.answers

new-plugin: setup ## write a plugin to begin with (NAME=yadtq-something) into plugins/
	@test -n "$(NAME)" || { echo "name it: make new-plugin NAME=yadtq-something" >&2; exit 2; }
	@$(BIN)/yadtq plugin new "$(NAME)" --path "plugins/$(subst -,_,$(NAME))"

bench: setup ## submit and execute rates beside the raw limit of the same services
	$(BIN)/python -m benchmarks

faults: setup ## fault runs on real services: 40 rows, each history checked, one table (ROWS="W1 K2"; PEERS=1)
	$(BIN)/python -m verification.faults $(ROWS) $(if $(PEERS),--peers)

docs: setup ## write the generated parts of docs/ anew: settings, options of the commands, numbers
	$(BIN)/python -m docs.generate

# Our other distributions require yadtq, which is in no lock.
COMPILE = PATH="$$PATH:$(BIN)" uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml

lock: $(VENV)/.locked ## resolve the locks in requirements/ anew from pyproject.toml
	@command -v uv >/dev/null 2>&1 || test -x $(BIN)/uv || { echo "fetching uv into $(VENV)"; $(BIN)/python -m pip install --quiet uv; }
	$(COMPILE) --upgrade $(OURS) --no-emit-package yadtq --extra kafka --group dev --output-file requirements/lock.txt
	$(COMPILE) --upgrade $(LOCAL) --no-emit-package yadtq --group install --constraint requirements/lock.txt --output-file requirements/demo.txt
	$(COMPILE) --upgrade $(LOCAL) --no-emit-package yadtq --extra kafka --group install --constraint requirements/lock.txt --output-file requirements/kafka.txt

fetch: setup ## fetch the jars of the Kafka that runs without Docker (45 MB, once)
	@$(BIN)/python -m yadtq_local

clean: ## remove what the other targets made, but not what was fetched outside this folder
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@./requirements/venv $(VENV)

# Two steps: pip refuses a path beside hashed requirements, so our own packages follow the lock.
$(VENV)/.locked: requirements/lock.txt | $(VENV)/bin/python
	@echo "setup: fetching the packages of requirements/lock.txt into $(VENV) (550 MB unpacked, once)"
	@./requirements/install $(VENV) --require-hashes -r requirements/lock.txt
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml $(OURS)
	@echo "setup: installing our own packages: $(EDITABLE)"
	@./requirements/install $(VENV) --no-deps --no-build-isolation $(EDITABLE)
	@touch $@

# The same for `demo` and `dev` alone: what runs, without what checks and tests it.
$(VENV)/.demo: MB = 65
$(VENV)/.kafka: MB = 180
$(VENV)/.demo $(VENV)/.kafka: $(VENV)/.%: requirements/%.txt pyproject.toml $(LOCAL) | $(VENV)/bin/python
	@echo "setup: fetching the packages of $< into $(VENV) ($(MB) MB unpacked, once)"
	@./requirements/install $(VENV) --require-hashes -r $<
	@./requirements/install $(VENV) --no-deps --no-build-isolation -e . -e ./yadtq_builtin_tasks -e ./plugins/yadtq_local
	@touch $@
