# Everything happens in .venv, which is made on first use. PYTHON is any python from 3.10 on.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
DEMO := demo/model
# Run in $(VENV): of the installed module, not of the checkout.
STUBGEN := bin/python -m nanobind.stubgen -q -m monolith_cli._native

# The package is installed, not run in place: that is what users get.
SOURCES := pyproject.toml README.md LICENSE \
	$(shell find monolith_cli commands man -type f -not -path '*/__pycache__/*' -not -name '*.so')

.PHONY: help demo test lint format man docs protos stubs wheel bench fuzz chaos findings clean

help:
	@echo "make demo    install, write a synthetic model directory, count it"
	@echo "make test    install with everything tests need, run them"
	@echo "make lint    ruff, mypy, and whether generated files are stale"
	@echo "make format  let ruff format the sources"
	@echo "make man     write the man pages again"
	@echo "make docs    write the references of the library for trainers and of JSON again"
	@echo "make protos  compile the .proto files again"
	@echo "make stubs   write the types of the native module again"
	@echo "make wheel   build a wheel from the sdist, and try it in an empty environment"
	@echo "make bench   measure, and print the table of the README"
	@echo "make fuzz    the native core under sanitizers, a million mutated inputs"
	@echo "make chaos   kill three kinds of job 50 times each, and commands 225 times: does it fit together?"
	@echo "make findings  what other libraries do that nobody would guess: does it still hold?"
	@echo "make clean   remove what the others made"

demo: $(VENV)/.installed
	$(BIN)/monolith sample $(DEMO) --force
	$(BIN)/monolith ckpt-info $(DEMO)
	@echo
	@echo "To go on: $(BIN)/monolith table ls $(DEMO), $(BIN)/monolith --help;"
	@echo "the man pages: man -M $(VENV)/share/man monolith-ckpt-info"
	@echo "With '. $(BIN)/activate' it is 'monolith' alone."

# In as many processes as there are processors; tests/conftest.py says how files are shared out.
test: $(VENV)/.test-installed
	$(BIN)/pytest -n auto $(PYTEST_ARGS)

# mypy reads the installed package, where the commands are in their place.
lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p monolith_cli
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml ../man/generate.py
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml ../docs/generate.py
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml ../benchmarks/*.py
	$(BIN)/python man/generate.py --check
	$(BIN)/python docs/generate.py --check
	$(BIN)/python protos/generate.py --check
	cd $(VENV) && $(STUBGEN) -o _native.pyi
	cmp $(VENV)/_native.pyi monolith_cli/_native.pyi || { echo "stale: run make stubs" >&2; exit 1; }

format: $(VENV)/.test-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

man: $(VENV)/.installed
	$(BIN)/python man/generate.py

docs: | $(VENV)/bin/python
	$(BIN)/python docs/generate.py

protos: $(VENV)/.test-installed
	$(BIN)/python protos/generate.py

stubs: $(VENV)/.test-installed
	cd $(VENV) && $(STUBGEN) -o ../monolith_cli/_native.pyi

wheel: $(VENV)/.test-installed
	PYTHON=$(BIN)/python .ci/wheel

bench: $(VENV)/.test-installed
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

fuzz:
	tests/fuzz/run.sh

chaos: $(VENV)/.test-installed
	for job in example stock stop; do \
	    $(BIN)/python tests/support/chaos.py --job $$job $(CHAOS_ARGS) || exit 1; done
	$(BIN)/python tests/support/chaos_commands.py
	KILLS=0 $(BIN)/pytest -q -n 0 tests/care/test_kills.py

# Neither CI nor `make test` runs these: each installs what it looks at, which takes minutes.
findings:
	findings/run $(FINDINGS)

clean:
	rm -rf $(VENV) build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install .
	@touch $@

$(VENV)/.test-installed: $(SOURCES) | $(VENV)/bin/python
	$(PIP) install '.[test]'
	@touch $@ $(VENV)/.installed
