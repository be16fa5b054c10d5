# Bare `make` prints what there is. Every target makes the environment it needs first.
PYTHON ?= python3
# The values of these variables are data: neither make nor the shell interprets them.
DATA := PYTHON RECIPE NAME PORT FROM TO VERSION INPUT OUTPUT PARAMS GROUP_BY WAY TILES TILES_REPORT YES
$(foreach name,$(DATA),$(eval override $(name) := $$(value $(name))))
export $(DATA)

BIN := .venv/bin
# Build dependencies are pinned too: by a path from here, so no command below gets the variable.
UV := UV_BUILD_CONSTRAINT=locks/dev.txt $(BIN)/uv pip
export UV_PYTHON_DOWNLOADS = never
# uv uses the index and certificate that pip is told to use.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(value PIP_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(value PIP_CERT)
endif
ifneq ($(shell mkdir -p "$${XDG_CACHE_HOME:-$$HOME/.cache}/uv" 2>&1),)
export UV_CACHE_DIR ?= $(CURDIR)/.venv/cache
endif
# Warnings are errors in recipe runs; MLflow warns of its own type hints when it is imported.
RUN := $(BIN)/python -W error -W ignore::UserWarning:mlflow.types.type_hints -m shared.cli

# Install the packages of the named recipe alone, unless those of all recipes are installed.
KNOWN := $(filter $(RECIPE),$(patsubst recipes/%/model_code.py,%,$(wildcard recipes/*/model_code.py)))
ONE := .venv/.$(or $(if $(wildcard .venv/.recipes),recipes),$(if $(KNOWN),one-$(KNOWN)),base)
ANY := .venv/.$(if $(wildcard .venv/.recipes),recipes,base)

# The commands in .venv hold its path: after a move it is made again.
ifneq ($(wildcard .venv/.place),)
ifneq ($(shell cat .venv/.place),$(shell cd .venv && pwd -P))
$(shell rm -rf .venv)
endif
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup list log log-all smoke smoke-all isolated check-model accept new starters recipe serve ui test verify check format bench docs docs-serve pitfalls test-docs passages register promote registry score-spark system lock clean torture serve-agent

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-12s %s\n", $$1, $$2}'

setup: .venv/.recipes ## the environment .venv for all recipes, from the hash-pinned locks

list: $(ANY) ## the recipes, a line each
log: $(ONE) ## log one recipe:  make log RECIPE=circle_area
log-all: .venv/.recipes ## log all recipes; table at the end, and build/log-all.json
smoke: $(ONE) ## reload one recipe's newest model in a process elsewhere, check its known answer
smoke-all: .venv/.recipes ## the same for all recipes
isolated: $(ONE) ## the same check in an environment made only from the model's own requirements
check-model: $(ONE) ## say what will go wrong with one recipe's newest model in production
accept: $(ONE) ## make the newest model's answer the expected one, after a look (or YES=1)
new: $(ANY) ## copy a recipe out as a starter:  make new FROM=circle_area TO=../tank_volume
starters: $(ANY) ## every recipe's starter as a file to download: build/starters/<name>.zip
serve: $(ONE) ## serve one recipe's newest model over REST:  make serve RECIPE=circle_area PORT=5001
serve-agent: $(ONE) ## serve an agent's newest model to the OpenAI client:  make serve-agent RECIPE=reference_qa PORT=5001
register: $(ONE) ## make one recipe's newest model a registered version, the challenger
promote: $(ONE) ## make the challenger the champion; back or to any other with VERSION=<number>
registry: $(ANY) ## registered versions and their aliases
score-spark: .venv/.spark ## score a file on Spark:  make score-spark RECIPE=circle_area INPUT=a.csv OUTPUT=b.parquet
ui: .venv/.ui ## MLflow's web page over what was logged:  make ui PORT=5000
list log log-all smoke smoke-all isolated check-model accept new starters serve serve-agent register promote registry score-spark ui:
	@$(RUN) $@

test: .venv/.check ## all tests
	@$(BIN)/python -m pytest

passages: .venv/.recipes ## embed the entries of reference_qa again, into its entries.parquet
	@$(BIN)/python recipes/reference_qa/passages.py

torture: build/log-all.json ## 10,000 hostile inputs for each recipe, and many clients (half an hour)
	@$(BIN)/python -m pytest tests/torture -vv --here --cases=10000 --dist=worksteal

# The tests that take longest come first.
verify: .venv/.spark .venv/.team .venv/.browser .venv/.sign ## use every recipe in every way; part of it with RECIPE=<name> WAY=isolated
	@$(BIN)/python -m pytest tests/verify/test_s*.py tests/verify/test_c*.py tests/test_copies.py tests/verify/test_[!cs]*.py \
		-m verify -k "$${RECIPE:-test} and $${WAY:-test}" -n 2 --dist loadfile --no-loadscope-reorder -vv

recipe: .venv/.check ## start a new recipe here:  make recipe NAME=bmi
	@$(RUN) recipe && $(BIN)/ruff format -q recipes tests

format: .venv/.check ## format the code and sort its imports
	@$(BIN)/ruff check -q --select I --fix . && $(BIN)/ruff format .

check: .venv/.check ## lint, format, types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/.recipes $(if $(filter-out spark,$(RECIPE)),,.venv/.spark) ## measure again, into benchmarks/results/; one recipe's with RECIPE=<name>
	@$(BIN)/python -m benchmarks $(if $(RECIPE),"$$RECIPE")

build/log-all.json: $(wildcard recipes/*/*.py recipes/*/*/*.py recipes/*/request.json) | .venv/.recipes
	@$(RUN) log-all

# Output that the site shows as it was printed; made again when a recipe has changed.
build/log-all.txt: build/log-all.json
	@$(BIN)/python -c 'import json; from shared import log_all; print(log_all.format_table(json.load(open("$<"))))' > $@
build/smoke-all.txt: build/log-all.json
	@$(RUN) smoke-all > $@ || { cat $@; exit 1; }
build/checked: docs/checked.py $(wildcard check_model/*.* benchmarks/check_model.*) | .venv/.docs
	@mkdir -p $@ && $(BIN)/python -m docs.checked && touch $@
build/make.txt: Makefile
	@mkdir -p build && $(MAKE) -s help > $@
build/starters: build/log-all.json $(wildcard shared/*.py shared/starter/* check_model/*.*)
	@$(RUN) starters && touch $@
SHOWN := build/log-all.txt build/smoke-all.txt build/make.txt build/starters build/checked

# `python -m docs.generate` writes the pages without building the site.
docs: .venv/.docs $(SHOWN) ## build the site into site/ from the last log-all and the kept measurements
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

pitfalls: .venv/.spark .venv/.docs ## run each pitfall's wrong and right way; keep what they print for the site
	@$(BIN)/python -m pytest tests/pitfalls -m pitfall
	@$(BIN)/python -m pytest -n0 tests/test_check_model.py -m pitfall  # in a worker, pyspark ends it

# The site as a workflow builds it: with the repository's address.
test-docs: export GITHUB_SERVER_URL ?= https://example.com
test-docs: export GITHUB_REPOSITORY ?= owner/cookbook
test-docs: .venv/.browser docs ## read the built site in Chromium: accessibility, links, search, both widths
	@$(BIN)/python -m pytest tests/site

docs-serve: docs ## build it, then look at it on http://127.0.0.1:8000 (or PORT=)
	@$(BIN)/python -m http.server -d site -b 127.0.0.1 "$${PORT:-8000}"

system: ## what verify and test-docs need, on Debian: Java (Spark), PostgreSQL, Chromium
	apt-get update -q
	apt-get install -y --no-install-recommends default-jre-headless postgresql chromium fonts-noto-cjk python3-doc

COMPILE := $(UV) compile -q --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
	--no-header --annotation-style line --no-emit-index-url --no-emit-find-links
lock: .venv/.recipes ## resolve the groups of pyproject.toml into locks/ again
	$(COMPILE) --group dev pyproject.toml -o locks/dev.txt
	$(COMPILE) --group data --no-deps pyproject.toml -o locks/data.txt
	for group in base llm check docs browser spark team sign; do \
		$(COMPILE) --group $$group -c locks/dev.txt pyproject.toml -o locks/$$group.txt || exit 1; done

clean: ## remove what was built; keeps .venv and .mlflow (your runs)
	rm -rf build site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each part of the environment has a stamp file. uv comes first, at the version in the lock.
.venv/bin/uv:
	@"$$PYTHON" -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else f"Python {v[0]}.{v[1]}: 3.11 to 3.13 is needed, e.g. make PYTHON=python3.11")'
	@echo "setting up .venv"
	@test -x $(BIN)/python || "$$PYTHON" -m venv .venv
	@cd .venv && pwd -P > .place
	@sed -n '/^uv==/,/[^\\]$$/p' locks/dev.txt > .venv/uv.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r .venv/uv.txt

.venv/.recipes: pyproject.toml locks/dev.txt locks/llm.txt locks/data.txt | .venv/bin/uv
	@$(UV) sync -q --compile-bytecode --require-hashes locks/dev.txt locks/llm.txt locks/data.txt
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@touch $@

.venv/.base: pyproject.toml locks/base.txt | .venv/bin/uv
	@$(UV) install -q --require-hashes -r locks/base.txt
	@$(UV) install -q --no-deps --no-build-isolation -e .
	@touch $@

# MLflow's page is in mlflow, not in mlflow-skinny.
.venv/.ui: $(ANY)
	@$(UV) install -q --require-hashes -c locks/dev.txt $$(sed -n 's/^\(mlflow==[0-9.]*\).*/\1/p' locks/dev.txt)
	@touch $@

LIST = $(foreach file,$(wildcard recipes/$*/requirements.txt recipes/$*/requirements-driver.txt),-r $(file))
.SECONDEXPANSION:
.venv/.one-%: .venv/.base locks/dev.txt $$(wildcard recipes/$$*/requirements*.txt)
	@$(UV) install -q --require-hashes -c locks/dev.txt -c locks/llm.txt -c locks/data.txt $(LIST)
	@test ! -f recipes/$*/requirements-data.txt || $(UV) install -q --require-hashes --no-deps -c locks/data.txt -r recipes/$*/requirements-data.txt
	@rm -rf .venv/cache/simple-*  # the index's pages, 27 MB; the packages there are links
	@touch $@

.venv/.check .venv/.docs .venv/.browser .venv/.spark .venv/.team .venv/.sign: .venv/.%: .venv/.recipes locks/%.txt
	@$(UV) install -q --compile-bytecode --require-hashes -r locks/$*.txt
	@touch $@
