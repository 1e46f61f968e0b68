# `make demo` and `make test` do all set-up by themselves.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo demo-clean env format generate lint lock test

env: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

test: env
	$(BIN)/python -m pytest

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	$(BIN)/python workflow/lint.py
	$(BIN)/python -m cryosnake.config.generate --check

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

generate: env
	$(BIN)/python -m cryosnake.config.generate

lock:
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra test --strip-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml

demo-clean:
	rm -rf $(DEMO)
