# Bare `make` prints what there is. Every target makes the environment it needs first.
PYTHON ?= python3
RECIPE ?=
PORT ?=
BIN := .venv/bin
UV := UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip
# Warnings are errors in recipe runs; MLflow warns of its own type hints when it is imported.
RUN := $(BIN)/python -W error -W ignore::UserWarning:mlflow.types.type_hints -m shared
COMPILE := $(UV) compile -q --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help setup list log log-all smoke smoke-all isolated new serve dockerfile ui test verify check bench docs docs-serve register promote rebuild registry score-spark system lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

setup: .venv/.recipes ## the environment .venv, from the hash-pinned locks (every target implies it)

list: .venv/.recipes ## the recipes, a line each
	@$(RUN) list

log: .venv/.recipes ## log one recipe:  make log RECIPE=circle_area
	@$(RUN) log $(RECIPE)

log-all: .venv/.recipes ## log all recipes; table at the end, and build/log-all.json
	@$(RUN) log-all

smoke: .venv/.recipes ## reload one recipe's newest model in a process elsewhere, check its known answer
	@$(RUN) smoke $(RECIPE)

smoke-all: .venv/.recipes ## the same for all recipes
	@$(RUN) smoke-all

isolated: .venv/.recipes ## the same check in an environment made only from the model's own requirements
	@$(RUN) isolated $(RECIPE)

new: .venv/.recipes ## copy a recipe out as a starter:  make new FROM=circle_area TO=../tank_volume
	$(if $(and $(FROM),$(TO)),,$(error make new FROM=<recipe> TO=<new folder>))
	@$(RUN) new "$(FROM)" "$(TO)"

serve: .venv/.recipes ## serve one recipe's newest model over REST:  make serve RECIPE=circle_area PORT=5001
	@$(RUN) serve $(RECIPE) $(if $(PORT),--port $(PORT))

dockerfile: .venv/.recipes ## container build folder of one recipe's newest model: build/docker/<name>
	@$(RUN) dockerfile $(RECIPE)

register: .venv/.recipes ## make one recipe's newest model a registered version, the challenger
	@$(RUN) register $(RECIPE)

promote: .venv/.recipes ## make the challenger the champion; back or to any other with VERSION=<number>
	@$(RUN) promote $(RECIPE) $(if $(VERSION),--version $(VERSION))

rebuild: .venv/.recipes ## log a composed model again with its components' newest versions
	@$(RUN) rebuild $(RECIPE)

registry: .venv/.recipes ## registered versions, aliases, components that have a newer version
	@$(RUN) registry

score-spark: .venv/.spark ## score a file on Spark:  make score-spark RECIPE=circle_area INPUT=a.csv OUTPUT=b.parquet
	@$(RUN) score-spark "$(RECIPE)" "$(INPUT)" "$(OUTPUT)" --params '$(or $(PARAMS),{})' --group-by "$(GROUP_BY)"

ui: .venv/.recipes ## MLflow's web page over what was logged:  make ui PORT=5000
	@$(RUN) ui $(if $(PORT),--port $(PORT))

test: .venv/.recipes ## all tests
	@$(BIN)/python -m pytest

verify: .venv/.spark .venv/.team ## every recipe in every way it is used; part of it with RECIPE=<name> WAY=isolated
	@$(BIN)/python -m pytest tests/verify -m verify -n 2 --dist loadfile -vv $(if $(RECIPE),--recipe $(RECIPE)) $(if $(WAY),--way "$(WAY)")

check: .venv/.recipes ## lint, format, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/.recipes $(if $(RECIPE),,.venv/.spark) ## measurements side by side; one recipe's with RECIPE=<name>
	@$(BIN)/python -m benchmarks $(RECIPE)

BENCHED := $(patsubst recipes/%/driver.py,build/bench/%.json,$(wildcard recipes/*/driver.py)) \
	build/bench/pythons.json build/bench/serving.json build/bench/spark.json \
	build/bench/team_server.json
.SECONDEXPANSION:
build/bench/%.json: benchmarks/%.py benchmarks/report.py $$(wildcard recipes/%/*) | .venv/.recipes
	@$(BIN)/python -m benchmarks.$*

build/bench/spark.json: | .venv/.spark

docs: .venv/.docs log-all $(BENCHED) ## build the site into site/ from fresh runs (benchmarks where the code changed)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: docs ## build it, then look at it on http://127.0.0.1:8000
	@$(BIN)/python -m http.server -d site -b 127.0.0.1 8000

system: ## what verify needs from the system, on Debian: Java (Spark), PostgreSQL
	apt-get update -q
	apt-get install -y --no-install-recommends openjdk-17-jre-headless postgresql

lock: .venv/.recipes ## resolve the groups of pyproject.toml into locks/ again
	$(COMPILE) --group dev pyproject.toml -o locks/dev.txt
	$(COMPILE) --group llm -c locks/dev.txt pyproject.toml -o locks/llm.txt
	$(COMPILE) --group data --no-deps pyproject.toml -o locks/data.txt
	$(COMPILE) --group docs -c locks/dev.txt pyproject.toml -o locks/docs.txt
	$(COMPILE) --group spark -c locks/dev.txt pyproject.toml -o locks/spark.txt
	$(COMPILE) --group team -c locks/dev.txt pyproject.toml -o locks/team.txt

clean: ## remove what was built; keeps .venv and .mlflow (your runs)
	rm -rf build site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# One stamp for each set of locks. The first brings uv itself, at the version in the lock.
.venv/.recipes: locks/dev.txt locks/llm.txt locks/data.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python {v[0]}.{v[1]}: 3.11 to 3.13 is needed, e.g. make PYTHON=python3.11")'
	@echo "setting up .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || { sed -n '/^uv==/,/[^\\]$$/p' locks/dev.txt > .venv/uv.txt && $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt; }
	@$(UV) sync -q --compile-bytecode --require-hashes locks/dev.txt locks/llm.txt locks/data.txt
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/.spark .venv/.team: .venv/.%: .venv/.recipes locks/%.txt
	@$(UV) install -q --compile-bytecode --require-hashes -r locks/$*.txt
	@touch $@

.venv/.docs: .venv/.recipes locks/docs.txt
	@$(UV) install -q --compile-bytecode --require-hashes -r locks/docs.txt
	@touch $@
