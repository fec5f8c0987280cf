# `make` lists what there is to make. The targets set themselves up: all they need is Python 3.10–3.14 with pip, git
# and a package index. Everything is installed into .venv, plus .meltano for what Meltano installs for itself.

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
UV := $(VENV)/uv/bin/uv
PIN := requirements/constraints.txt
# Apart from the rest: dbt with the plugins of four warehouses, for tests and `make sql`.
TRANSFORM := transform/.venv
# Meltano with its S3 backend and a bucket, and Snowflake's loader (it wants another SDK) with a stand-in, for tests.
BUCKET := $(VENV)/bucket
SNOWFLAKE := $(VENV)/snowflake

# The Python .venv is made with: the first of these that the project supports. `make PYTHON=…` chooses another.
PYTHON ?= $(or $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11 python3.10,\
	$(shell $(name) -c 'import sys; (3, 10) <= sys.version_info[:2] <= (3, 14) and print("$(name)")' 2>/dev/null))),\
	$(error Python 3.10, 3.11, 3.12, 3.13 or 3.14 is needed, and none was found: install one, or say PYTHON=/path/to/it))

# uv and Meltano's uv trust the certificates that the machine trusts, as pip does: behind a company's proxy, too.
export UV_SYSTEM_CERTS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
# Where it is set, each of the many processes that tests and demo start compiles all it imports: half of their time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
# Installing into one place twice at once, under make -j, would break it.
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.PHONY: help demo warehouse marts sql test test-all test-examples test-dagster test-dlt test-transform test-bucket test-snowflake check generate coverage mutants newest simulator simulate bench dist lock clean

help: ## List the targets
	@echo "make TARGET [ARGS='…'], where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "  %-13s %s\n", $$1, $$2 }'

demo: $(VENV)/demo.stamp ## Braze's simulator → tap → Postgres under Meltano, twice, numbers back to Braze, a chart
	@$(PYTHON_IN_VENV) demo/run.py

warehouse: $(VENV)/demo.stamp ## psql on the demo's warehouse, server and all (ARGS="-c 'SELECT …'" asks one question)
	@$(PYTHON_IN_VENV) demo/warehouse.py $(ARGS)

marts: $(VENV)/marts.stamp ## dbt's tables from what the demo loaded, with their tests
	@$(PYTHON_IN_VENV) demo/marts.py

sql: $(TRANSFORM)/stamp ## examples/sql anew: the marts' queries, as dbt compiles them (ARGS=--check only compares)
	@$(TRANSFORM)/bin/python tools/compile_sql.py $(ARGS)

test: check $(VENV)/test.stamp ## The checks, then the tests (ARGS go to pytest)
	@$(PYTHON_IN_VENV) -m pytest -n auto --dist worksteal $(ARGS)

test-all: test test-examples ## Everything CI runs: the same, and the tests of the examples

test-examples: test-dagster test-dlt test-transform test-bucket test-snowflake ## The examples, dbt, a bucket and Snowflake: what needs environments of its own

test-dagster: $(VENV)/dev.stamp ## Of these, the Dagster example, on simulated workspaces
	@$(MAKE) -C examples/dagster test

test-dlt: $(VENV)/dev.stamp ## And the dlt example, into DuckDB
	@$(MAKE) -C examples/dlt test

test-transform: $(VENV)/test.stamp $(VENV)/marts.stamp $(TRANSFORM)/stamp ## And the dbt project, on Postgres and DuckDB
	@DBT=$(CURDIR)/$(TRANSFORM)/bin/dbt $(PYTHON_IN_VENV) -m pytest -n auto --dist worksteal tests/project/test_transform.py $(ARGS)

test-bucket: $(VENV)/test.stamp $(BUCKET)/stamp ## And the recipe for GitHub Actions, its state in a bucket of a stand-in for S3
	@BUCKET=$(CURDIR)/$(BUCKET) $(PYTHON_IN_VENV) -m pytest -n auto tests/project/test_bucket.py $(ARGS)

test-snowflake: $(VENV)/dev.stamp $(SNOWFLAKE)/stamp ## And Snowflake's loader, on a stand-in for Snowflake
	@SNOWFLAKE=$(CURDIR)/$(SNOWFLAKE)/bin/python $(PYTHON_IN_VENV) -m pytest -n auto --dist worksteal tests/project/test_snowflake.py $(ARGS)

generate: $(VENV)/dev.stamp ## Write plugins/, hub/ and the tables of settings from the plugins' code
	@$(PYTHON_IN_VENV) tools/generate.py

check: $(VENV)/dev.stamp ## Lint, formatting, types, who imports whom, what is generated, and CI's workflows
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --diff
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo --no-cache
	@$(PYTHON_IN_VENV) tools/generate.py --check
	@$(VENV)/bin/zizmor --quiet --offline --strict-collection .github

coverage: $(VENV)/coverage.stamp ## Run the tests and list what of the code none of them runs (ARGS go to pytest)
	@rm -rf .coverage && mkdir .coverage
	@# Measured, tests take several times as long.
	@$(VENV)/bin/coverage run -m pytest -n auto --timeout 600 $(ARGS)
	@$(VENV)/bin/coverage combine --quiet
	@$(VENV)/bin/coverage report

mutants: $(VENV)/mutants.stamp ## Change the pure rooms in small ways, and list what no test notices (ARGS: names of mutants)
	@nice $(VENV)/bin/mutmut run $(ARGS)
	@$(VENV)/bin/mutmut results

newest: $(VENV)/test.stamp ## Run the tests with the newest singer-sdk, pre-releases included (ARGS go to pytest)
	@# Whatever is made next puts the pinned version back.
	@rm $(VENV)/dev.stamp
	@$(UV) pip install --python $(PYTHON_IN_VENV) --upgrade 'singer-sdk>=0.dev0'
	@$(PYTHON_IN_VENV) -m pytest -n auto $(ARGS)

simulator: $(VENV)/simulator.stamp ## Braze on localhost, until Ctrl-C (ARGS="--help" lists its options)
	@$(PYTHON_IN_VENV) -m braze_simulator $(ARGS)

simulate: $(VENV)/dev.stamp ## Whole readings in virtual time, seed after seed, for a minute (ARGS="--help": one seed, small lists, costs)
	@$(PYTHON_IN_VENV) -m simulation $(ARGS)

bench: $(VENV)/test.stamp ## Reading and loading the list, beside others (an hour; ARGS=--quick: minutes; ARGS="--only warehouse")
	@$(PYTHON_IN_VENV) benchmarks/run.py $(ARGS)

dist: $(VENV)/dist.stamp ## Build sdist and wheel, and run tests against the wheel on every Python found (ARGS="--help")
	@$(PYTHON_IN_VENV) tools/dist.py $(ARGS)

lock: | $(UV) ## Move the pinned versions of everything installed here to the newest that fit pyproject.toml
	@$(UV) pip compile --quiet --universal --python-version 3.10 --upgrade --no-annotate \
		--group dev --group coverage --group dist --group meltano --group mutants --custom-compile-command "make lock" \
		--output-file $(PIN) pyproject.toml

# Neither .meltano's state nor output/: they may hold what cannot be had again.
clean: ## Remove all that was installed, caches and what the demo left; keep Meltano's state and your output
	@rm -rf $(VENV) .venv-bench examples/*/.venv $(TRANSFORM) .meltano/extractors .meltano/loaders .meltano/utilities
	@rm -rf output/demo output/bench output/transform dist
	@rm -rf .coverage mutants .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@echo "Installing uv into $(VENV)"
	@# Without pip: that takes ensurepip, which Debian ships apart, and most of the seconds.
	@$(PYTHON) -m venv --without-pip $(VENV)
	@$(PYTHON) -m pip install -qq --target $(VENV)/uv --upgrade uv

INSTALL = $(UV) pip install --quiet --python $(PYTHON_IN_VENV) --constraint $(PIN)

$(VENV)/simulator.stamp: simulator/pyproject.toml | $(UV)
	@echo "Installing the simulator into $(VENV)"
	@$(INSTALL) --editable simulator
	@touch $@

$(VENV)/dev.stamp: pyproject.toml $(PIN) $(VENV)/simulator.stamp | $(UV)
	@echo "Installing the project and its tools into $(VENV)"
	@$(INSTALL) --editable . --group dev
	@touch $@

$(VENV)/coverage.stamp: $(VENV)/test.stamp
	@$(INSTALL) --group coverage
	@touch $@

$(VENV)/mutants.stamp: $(VENV)/dev.stamp
	@$(INSTALL) --group mutants
	@touch $@

$(VENV)/dist.stamp: $(VENV)/dev.stamp
	@$(INSTALL) --group dist
	@touch $@

# `meltano run` installs plugins, too, but only once: not again after the tap's dependencies have changed.
MELTANO_INSTALL = $(VENV)/bin/meltano --log-level error install

$(VENV)/demo.stamp: pyproject.toml $(PIN) meltano.yml $(VENV)/simulator.stamp | $(UV)
	@echo "Installing Meltano into $(VENV)"
	@$(INSTALL) --group meltano
	@echo "Installing the tap, the target, and Postgres' loader and tap into .meltano"
	@$(MELTANO_INSTALL) tap-braze-sms target-braze-sms target-postgres tap-postgres
	@touch $@

$(VENV)/marts.stamp: $(VENV)/demo.stamp
	@echo "Installing dbt into .meltano"
	@$(MELTANO_INSTALL) dbt-postgres
	@touch $@

$(TRANSFORM)/stamp: transform/requirements.txt | $(UV)
	@echo "Installing dbt and the plugins of four warehouses into $(TRANSFORM)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON_IN_VENV) $(TRANSFORM)
	@$(UV) pip install --quiet --python $(TRANSFORM)/bin/python --only-binary :all: --requirement $<
	@touch $@

$(BUCKET)/stamp: requirements/bucket.txt | $(UV)
	@echo "Installing Meltano with its S3 backend, and a stand-in for S3, into $(BUCKET)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON_IN_VENV) $(BUCKET)
	@$(UV) pip install --quiet --compile-bytecode --python $(BUCKET)/bin/python --only-binary :all: --requirement $<
	@touch $@

$(SNOWFLAKE)/stamp: requirements/snowflake.txt | $(UV)
	@echo "Installing Snowflake's loader and a stand-in for Snowflake into $(SNOWFLAKE)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON_IN_VENV) $(SNOWFLAKE)
	@$(UV) pip install --quiet --compile-bytecode --python $(SNOWFLAKE)/bin/python --only-binary :all: --requirement $<
	@touch $@

$(VENV)/test.stamp: $(VENV)/dev.stamp $(VENV)/demo.stamp
	@echo "Installing the loader of CSV files into .meltano"
	@$(MELTANO_INSTALL) target-csv
	@# Where its DuckDB has a wheel.
	@if $(PYTHON_IN_VENV) -c 'import duckdb' 2>/dev/null; then \
		echo "Installing DuckDB's loader into .meltano"; $(MELTANO_INSTALL) target-duckdb; fi
	@touch $@
