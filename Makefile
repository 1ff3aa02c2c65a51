# Polytraders. Needs Python 3.11 or newer, git and make; every target brings the rest itself.

PYTHON ?= python3
# Test processes: one more than the continuous-integration machine has cores, for some tests wait most of their time.
JOBS ?= 3
# More for pytest, e.g. make test ARGS="-k ledger"
ARGS ?=
# Where recordings are looked for; see `make demo`.
POLYTRADERS_SHARED ?= $(abspath $(CURDIR)/../shared)

# The uv of this machine if it works, else one of our own. (A pyenv shim can be there and not work.)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .venv-uv/bin/uv)
BIN := .venv/bin
READY := .venv/.ready
# The demo's catalog and runs go to ./.polytraders and its report to ./reports, whatever the environment says.
RUN := env -u POLYTRADERS_HOME -u POLYTRADERS_SETTINGS $(BIN)/polytraders

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench lab soak clean

help: ## This list
	@echo "Polytraders: from a notebook to signed orders on Polymarket."
	@echo
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-7s %s\n' "$$name" "$$text"; done

# ---------------------------------------------------------------------------------------------- environment

setup: $(READY) ## Create .venv with every dependency at its locked version
	@echo "Ready: . .venv/bin/activate, then polytraders --help"

$(READY): pyproject.toml uv.lock $(filter-out uv,$(UV))
	@echo "Installing the locked dependencies into .venv (about a minute the first time)"
	@$(UV) sync --frozen --quiet --compile-bytecode
	@touch $@

# A virtual environment where that works; where Python came without ensurepip (Debian's does), a plain folder.
# Neither needs root nor touches the machine's Python.
.venv-uv/bin/uv:
	@echo "There is no uv on this machine; bringing one into .venv-uv"
	@rm -rf .venv-uv
	@{ $(PYTHON) -m venv .venv-uv && .venv-uv/bin/python -m pip install --quiet --disable-pip-version-check uv; } >/dev/null 2>&1 \
		|| { rm -rf .venv-uv && mkdir -p .venv-uv/bin \
			&& PIP_ROOT_USER_ACTION=ignore $(PYTHON) -m pip install --quiet --disable-pip-version-check --target .venv-uv/lib uv \
			&& ln -s ../lib/bin/uv .venv-uv/bin/uv; } \
		|| { echo "uv could not be installed. It needs the network, and a $(PYTHON) with venv or pip (packages"; \
			echo "python3-venv, python3-pip); or install uv itself, https://docs.astral.sh/uv, and try again."; exit 1; }

# --------------------------------------------------------------------------------------------------- product

# Six game markets with the trades the venue reported, so that nothing about the fills is inferred.
DEMO_FILE := $(wildcard $(POLYTRADERS_SHARED)/data/polymarket/ws/tickscope_price_change/polymarket_20260607_0130.parquet)

demo: $(READY) ## Import a recording, trade it, replay and verify the run, render the report
ifneq ($(DEMO_FILE),)
	@echo "1/4  A recording of a real market session"
	@$(RUN) data import "$(DEMO_FILE)" --name demo --replace
else
	@echo "1/4  No recording in $(POLYTRADERS_SHARED): a made-up market instead. What it earns says nothing about the venue."
	@$(RUN) data synth .polytraders/synthetic
	@$(RUN) data import .polytraders/synthetic/*.jsonl* --name demo --replace
endif
	@echo; echo "2/4  Backtest: intel, discovery, strat.maker_tight, risk, execution, simulated venue"
	@$(RUN) backtest demo --report
	@echo; echo "3/4  Replay: the same decisions again, from the run's log alone"
	@$(RUN) replay latest
	@echo; echo "4/4  Verify: every byte of the log"
	@$(RUN) verify latest
	@echo; echo "Report, for a browser: $$(ls -t $(CURDIR)/reports/*.html | head -n 1)"

lab: $(READY) ## JupyterLab on the project's kernel, in nbs/
	@$(BIN)/jupyter lab nbs

bench: $(READY) ## Measure against peers; writes bench/results.json and BENCHMARKS.md
	@PATH="$(CURDIR)/.venv-uv/bin:$$PATH" $(BIN)/python -m bench.run

# ----------------------------------------------------------------------------------------------------- checks

test: $(READY) ## Every check and test: style, generated files, notebooks, golden runs
	@PATH="$(CURDIR)/.venv-uv/bin:$$PATH" $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder \
		--max-worker-restart 0 $(ARGS)

soak: $(READY) ## Long campaigns over many seeds; POLYTRADERS_SOAK=first:last says how many
	@PATH="$(CURDIR)/.venv-uv/bin:$$PATH" $(BIN)/pytest -m soak -n $(JOBS) $(ARGS)

lint: $(READY) ## Style and common mistakes
	@$(BIN)/ruff check --quiet

clean: ## Remove what tools made; keeps .venv, the catalog and the runs
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .bench
	@find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print0 | xargs -0 rm -rf
	@echo "Clean. Still here: .venv (rm -r it for a new one), .polytraders (your catalog and runs), reports/."
