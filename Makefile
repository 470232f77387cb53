# Cellwarden. `make demo` and `make test` install what they need first.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The tests start hundreds of processes; without bytecode each of them would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test lint types imports bench swarm powercut interop mutation coverage nightly printed clean

install: $(STAMP)

$(STAMP): pyproject.toml tools/install.sh
	@bash tools/install.sh $(VENV)
	@touch $(STAMP)

demo: install
	@$(BIN)/cellwarden demo

test: install lint types imports
	@echo "== tests"
	@$(BIN)/python -m pytest -q -n 3 --dist worksteal

lint: install
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: install
	@echo "== mypy --strict"
	@$(BIN)/mypy

imports: install
	@echo "== import contracts"
	@$(BIN)/lint-imports --no-cache

bench: install
	@$(BIN)/cellwarden bench scan
	@$(BIN)/cellwarden bench io
	@$(BIN)/cellwarden bench opcua

# What a machine prints and a test compares: matrix, node list.
printed: install
	@$(BIN)/cellwarden export matrix > plc_config/CAUSE_EFFECT.md
	@$(BIN)/cellwarden export diagrams > docs/sequences.md
	@$(BIN)/cellwarden export schema > plc_config/SITE.schema.json
	@$(BIN)/cellwarden export pattern > opcua_model/NODES.csv

# Random scans against the invariants of the program, far more of them than `make test` runs.
swarm: install
	@CELLWARDEN_EXAMPLES=20000 $(BIN)/python -m pytest -q tests/property --timeout 3600
	@$(BIN)/cellwarden swarm bench --cycle 1s --hours 24 --runs 200 --jobs 2
	@$(BIN)/cellwarden swarm container --hours 24

# Kill -9, power cuts, full disks and damaged files against the retained state.
powercut: install
	@$(BIN)/python -m tools.powercut --rounds 250

# Other people's Modbus and OPC UA stacks against ours.
interop: install
	@$(BIN)/python -m pytest -q tests/integration

# How much of a changed protection or sequence the tests notice; EACH=40 tries so many of each module, ONLY=sequence.rejoin one.
mutation: install
	@$(BIN)/python -m tools.mutate --each $(or $(EACH),0) $(addprefix --only ,$(ONLY))

# Branch coverage of protection, sequences and the stages around them that decide over outputs, by their own tests.
COVERED := controller/core/protect/*,controller/core/sequence/*
COVERED := $(COVERED),controller/core/balance.py,controller/core/compose.py,controller/core/dispatch.py
COVERED := $(COVERED),controller/core/extremes.py,controller/core/validate.py
coverage: install
	@$(BIN)/python -m coverage run --branch --include "$(COVERED)" \
	  -m pytest -q -p no:xdist tests/unit/test_protect_*.py tests/unit/test_stage*.py tests/unit/test_ledger.py \
	  tests/unit/test_joining.py tests/unit/test_rejoin_rules.py tests/unit/test_requests.py tests/unit/test_limits.py \
	  tests/unit/test_relations.py tests/unit/test_sequence_tables.py tests/unit/test_bank_begins.py \
	  tests/unit/test_matrix.py tests/unit/test_dispatch.py tests/unit/test_setpoints.py tests/unit/test_compose.py \
	  tests/unit/test_balance.py tests/unit/test_validate.py tests/scenario/test_lost_witness.py \
	  tests/scenario/test_protection.py tests/scenario/test_stalled_link.py tests/scenario/test_late_pcs.py \
	  tests/scenario/test_live_rack.py tests/scenario/test_precharge.py tests/scenario/test_power.py \
	  tests/scenario/test_refusals.py tests/scenario/test_connecting.py tests/scenario/test_leaving.py \
	  tests/scenario/test_own_contactors.py tests/scenario/test_rejoin.py tests/scenario/test_sequences.py \
	  tests/scenario/test_transitions.py
	@$(BIN)/python -m coverage report -m --fail-under 100

nightly: install
	@CELLWARDEN_EXAMPLES=100000 $(BIN)/python -m pytest -q --timeout 7200

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
