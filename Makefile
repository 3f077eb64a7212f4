# Every target sets up what it needs: the first command on a fresh machine may be any of them.

VENV   := .venv
PY     := $(VENV)/bin/python
READY  := $(VENV)/.installed
PYTHON ?= $(shell sh scripts/find-python)
ARGS   ?=

.DEFAULT_GOAL := help

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@sh scripts/find-python --check "$(PYTHON)"
	@echo "setting up $(VENV) from requirements.lock (about a minute)"
	@"$(PYTHON)" -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY)  ## the virtual environment, from the lock file

run-sim: $(READY)  ## replay the embedded tape under the law; ARGS="seed=2 policy/risk=tight" passes overrides
	@$(VENV)/bin/alphatrade sim $(ARGS)

run-paper: $(READY)  ## the same on paper, in a Nautilus TradingNode, with a console beside it; ARGS="feed.speed=60 console=false"; Ctrl-C ends it flat
	@sh scripts/run-paper $(VENV)/bin $(ARGS)

test: lint  ## lint, import contracts, types and the default tests (about ten minutes)
	@$(PY) -m pytest --numprocesses logical --maxprocesses 8 --dist loadfile $(ARGS)

lint: $(READY)  ## ruff, import contracts, mypy strict on the pure modules
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/mypy

red-team: $(READY)  ## attack the policy in every known way, with pictures; ARGS="policy/risk=tight"
	@$(VENV)/bin/alphatrade red-team $(ARGS)

evolve: $(READY)  ## a small search on the embedded tape, its report, and the best of it before the gate; ARGS="search.seed=2"
	@$(VENV)/bin/alphatrade evolve --multirun search=small $(ARGS)
	@$(VENV)/bin/alphatrade judge artifacts/latest-search --sign

verify-policy: $(READY)  ## HASH=… DOSSIER=<file> TRUST=<public keys>: derive a dossier again, exit 1 at what differs
	@$(VENV)/bin/alphatrade verify-policy "$(HASH)" --dossier "$(DOSSIER)" --trust "$(TRUST)" $(ARGS)

rebuild-policy: $(READY)  ## HASH=… [DOSSIER=<file>] [OUT=<file>]: the runtime config of a policy, byte for byte
	@$(VENV)/bin/alphatrade rebuild-policy "$(HASH)" $(if $(DOSSIER),--dossier "$(DOSSIER)") $(if $(OUT),--out "$(OUT)") $(ARGS)

audit-export: $(READY)  ## FROM=2026-11-01 TO=2026-11-30: one archive for an auditor, which verifies itself; ARGS="--key ada.pem"
	@$(VENV)/bin/alphatrade audit-export --from "$(FROM)" --to "$(TO)" $(ARGS)

weekly: $(READY)  ## the red team, and the auditor over the runs of the last seven days
	@$(VENV)/bin/alphatrade weekly $(ARGS)

nightly: $(READY)  ## replay the last day of the tape and check everything; ARGS="tape=world"
	@$(VENV)/bin/alphatrade nightly $(ARGS)

rim-shadow: $(READY)  ## propose changes from the latest run, rule on them; ARGS="governed_feedback=true" applies in stages
	@$(VENV)/bin/alphatrade rim $(ARGS)

rim-demo: $(READY)  ## a policy that is wrong for its market, and how it is put right in four runs, with a ledger of its own
	@sh scripts/rim-demo $(VENV)/bin

bench: $(READY)  ## the performance figures, interleaved, into artifacts/bench/
	@$(PY) -m benchmarks $(ARGS)

learn-bench: $(READY)  ## does it adapt, does it notice, what does it cost: figures into artifacts/bench/ (under an hour)
	@$(PY) -m benchmarks.learn $(ARGS)

evolve-bench: $(READY)  ## does the gate promote what earns and nothing else: figures into artifacts/bench/ (hours, resumable)
	@$(PY) -m benchmarks.evolve $(ARGS)

rim-train: $(READY)  ## learn the models of the reflection job anew (under an hour); the same seeds give the same bytes
	@$(VENV)/bin/alphatrade rim-train --out reflection/rim/models $(ARGS)

rim-bench: $(READY)  ## are proposals right, is confidence honest, does governance hold: figures into artifacts/bench/
	@$(PY) -m benchmarks.rim $(ARGS)

paper-bench: $(READY)  ## is paper the replay, throughput beside a bare node, latency of an order; into artifacts/bench/
	@$(PY) -m benchmarks.paper $(ARGS)

drills: $(READY)  ## kill, runaway, feed loss, restart, restore, full disk, rollback, drift, reconcile, rotate key, every alert: real runs on loopback (a dozen minutes); ARGS="--only kill --times 50"
	@$(PY) -W ignore -m benchmarks.drills $(ARGS)

faults: $(READY)  ## a thousand faults and fifty kill -9 of a node at an exchange on loopback (20 minutes); ARGS="--segments 1 --faults 20"
	@$(PY) -W ignore -m benchmarks.faults $(ARGS)

live-drill: $(READY)  ## days of a live node with faults, what tries to get past law and door, an archive (half an hour); loopback only; ARGS="--only attempts"
	@$(PY) -W ignore -m benchmarks.live $(ARGS)

soak: $(READY)  ## HOURS=… SPEED=…: a paper node beside one that does nothing, memory, latency and law hour by hour; into artifacts/soak/
	@$(PY) -W ignore -m benchmarks.soak --hours "$(or $(HOURS),2)" --speed "$(or $(SPEED),1)" $(ARGS)

accept: $(READY)  ## the long acceptance checks, with progress (about an hour)
	@$(PY) -m tests.acceptance $(ARGS)

dod: $(READY)  ## M=0|1|2|3|4|5: run the acceptance of that roadmap milestone and print a table
	@$(PY) -m tests.acceptance --milestone "$(M)"

lock:  ## pin the dependencies anew, with hashes
	@uv pip compile pyproject.toml --group dev --extra learn --extra evolve --extra paper --extra console --generate-hashes --no-emit-index-url --no-header --python-version 3.13 \
	  --python-platform x86_64-manylinux_2_34 --quiet -o requirements.lock

wheel: $(READY)  ## build dist/alphatrade-*.whl
	@$(PY) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove the environment and what was built; artifacts stay
	@rm -rf $(VENV) .venv-* build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.PHONY: help setup run-sim run-paper test lint red-team evolve verify-policy rebuild-policy audit-export weekly nightly rim-shadow rim-demo bench learn-bench evolve-bench rim-train rim-bench paper-bench drills faults live-drill soak accept dod lock wheel clean
