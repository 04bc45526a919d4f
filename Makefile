# A machine with Python >= 3.11 and make needs nothing else for `make demo` and `make test`.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
OLD_METAFLOW := .venv-metaflow-2.16
PIP := pip install --quiet --disable-pip-version-check
# Metaflow wants a name and takes no root, which is who one is in many a container.
export METAFLOW_USER ?= $(or $(filter-out root,$(shell id -un)),developer)

.PHONY: help demo test bench lint old-metaflow s3 clean \
  record-nomad live-nomad record-armada live-armada

# Where Armada's built programs and their checkout are.
ARMADA_BIN ?= armada/bin
ARMADA_CHECKOUT ?= armada
# With ARMADA_KUBECONFIG, the file of a Kubernetes that runs containers, they run on that too.
ARMADA_ON = --bin $(ARMADA_BIN) --checkout $(ARMADA_CHECKOUT) \
  $(if $(ARMADA_KUBECONFIG),--kubeconfig $(ARMADA_KUBECONFIG))

help:  ## what can be made
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 16

demo: .venv/demo  ## a Metaflow flow whose every step is a job of batchbridge on this machine
	$(BIN)/python examples/demo_flow.py run

test: .venv/test old-metaflow s3 lint  ## everything that is checked; ends with pytest's summary
	BATCHBRIDGE_OLD_METAFLOW_PYTHON=$(CURDIR)/$(OLD_METAFLOW)/bin/python $(BIN)/pytest -n 2

lint: .venv/test  ## format, lint, types and import contracts
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: .venv/test  ## each number side by side with its peer's, as a table
	$(BIN)/python -m benchmarks

old-metaflow: $(OLD_METAFLOW)/installed  ## the oldest Metaflow that is supported, for the tests

s3: .venv/test  ## LocalStack for the tests over S3; where its install fails they use moto's server
	-localdev/s3 install

record-nomad: .venv/test  ## Nomad's recordings again, by agents of its own; fails on a difference
	$(BIN)/python -m tests.drivers.nomad.record

live-nomad: .venv/test  ## all that runs on real Nomad agents; docs/verified.md tells what did
	mkdir -p build && rm -f build/live-nomad.xml
	-$(BIN)/pytest -n 0 -m live -k 'not armada-live' --junitxml=build/live-nomad.xml \
	  tests/drivers/nomad tests/localdev/test_nomad.py tests/test_nomad_page.py \
	  tests/metaflow/test_admin.py tests/metaflow/test_engine_kills.py \
	  tests/metaflow/test_engines.py tests/metaflow/test_nomad_containers.py \
	  tests/metaflow/test_nomad_example.py
	$(BIN)/python -m tests.verified Nomad "$$(nomad version | head -1)" build/live-nomad.xml

record-armada: .venv/test  ## Armada's recordings again, by Armadas of its own; fails on a difference
	$(BIN)/python -m tests.drivers.armada.record $(ARMADA_ON)

live-armada: .venv/test  ## all that runs on real Armadas; docs/verified.md tells what did
	$(BIN)/python -m tests.drivers.armada.live $(ARMADA_ON)

clean:  ## remove what make made
	rm -rf .venv $(OLD_METAFLOW) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

.venv/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/demo: .venv/python pyproject.toml
	$(BIN)/$(PIP) -e '.[metaflow]'
	@touch $@

.venv/test: .venv/python pyproject.toml
	$(BIN)/$(PIP) -e '.[test]'
	@touch $@ .venv/demo

$(OLD_METAFLOW)/installed: .venv/python pyproject.toml
	$(PYTHON) -m venv $(OLD_METAFLOW)
	$(OLD_METAFLOW)/bin/$(PIP) -e '.[metaflow,s3]' 'metaflow==2.16.8'
	@touch $@
