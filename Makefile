# Everything a command needs is brought into this checkout (.venv, .cache); nothing outside is touched.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CACHE_DIR := $(CURDIR)/.cache/pip
export UV_CACHE_DIR := $(CURDIR)/.cache/uv
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# uv does not read pip's settings; where pip needs a certificate or an index of its own, so does uv.
ifneq ($(PIP_CERT),)
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifneq ($(PIP_INDEX_URL),)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
# pip asks rustc for its version, and rustup's rustc makes a directory at home to answer.
export RUSTUP_HOME := $(CURDIR)/.cache/rustup
# Hundreds of processes start in a test run, and each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
PROJECT := $(UV_INSTALL) --no-deps --no-build-isolation --editable .

.PHONY: demo test cluster lint bench soak capture servers serve lock clean

demo: $(VENV)/.demo ## Stream real video to several customers, through a SIGKILL, onto invoices
	$(BIN)/streamgauge demo $(ARGS)

test: $(VENV)/.dev ## Run every test, but for those of a cluster
	$(BIN)/python -m pytest -m "not cluster" -n 3 --dist worksteal $(ARGS)

cluster: $(VENV)/.dev ## Run the tests that start the servers of a cluster
	$(BIN)/python -m pytest -m cluster -n 3 --dist worksteal $(ARGS)

lint: $(VENV)/.dev ## Format, rules, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

bench: $(VENV)/.dev ## Print ratios against peers and limits, measured in one run
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.dev ## Two hundred rounds of SIGKILL on either side, 100,000 hostile bodies, schemathesis
	STREAMGAUGE_SOAK_ROUNDS=200 STREAMGAUGE_SOAK_BODIES=100000 STREAMGAUGE_SOAK_EXAMPLES=50 \
	  $(BIN)/python -m pytest tests/e2e/test_sigkill.py tests/e2e/test_server_soak.py \
	  tests/integration/ingest/test_hostile_bodies.py tests/integration/api/test_description.py \
	  -s --timeout 7200 $(ARGS)

capture: $(VENV)/.dev ## Measured bytes beside packet captures in network namespaces; as root
	$(BIN)/python -m tests.wire $(ARGS)

servers: $(VENV)/.dev ## Viewers who hang up on each server: kernel, bill, and a naive count
	$(BIN)/python -m pytest tests/servers/test_hang_up.py -q -s $(ARGS)

serve: $(VENV)/.demo ## A server on ./billing
	$(BIN)/streamgauge serve --data-dir billing $(ARGS)

lock: $(BIN)/uv ## Resolve again: names, versions and digests, no index address
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" --extra demo --extra jwt \
	  --extra cluster --group dev pyproject.toml --output-file requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" --extra demo \
	  --constraint requirements/dev.txt pyproject.toml requirements/build.in \
	  --output-file requirements/demo.txt

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/uv: requirements/uv.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
	touch $@

$(VENV)/.demo: $(BIN)/uv requirements/demo.txt pyproject.toml
	$(UV_INSTALL) --require-hashes --requirement requirements/demo.txt
	$(PROJECT)
	touch $@

$(VENV)/.dev: $(BIN)/uv requirements/dev.txt pyproject.toml
	$(UV_INSTALL) --require-hashes --requirement requirements/dev.txt
	$(PROJECT)
	touch $@ $(VENV)/.demo
