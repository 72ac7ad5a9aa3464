# Everything a newcomer types. Only Python 3.11 or later and make are needed.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Every process of the suite reads the tests as they were compiled once, also where the environment forbids bytecode.
SUITE := PYTHONDONTWRITEBYTECODE= $(BIN)/pytest

.PHONY: demo cluster run doctor test prove mutants lint docs bench screenshots wheel release lock clean

demo: $(READY)           ## run the bot against a local Discord and a local image service (ONCE=1: stop after the first pictures; PORT=n)
	@$(BIN)/darkroom demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

cluster: $(READY)        ## run several processes on a PostgreSQL, lose some of them, and say who did what
	@$(BIN)/python -m tests.scenarios.cluster_play

run: $(READY)            ## run the bot
	@$(BIN)/darkroom run

doctor: $(READY)         ## check everything a deployment needs
	@$(BIN)/darkroom doctor

test: $(READY)           ## the whole suite (ARGS="-k cancel" goes to pytest)
	@$(SUITE) -n 5 --dist worksteal $(ARGS)

prove: $(READY)          ## the longer tests that `make test` leaves out
	@$(SUITE) -m prove -n 4 --dist worksteal $(ARGS)

mutants: $(READY)        ## remove one guard at a time and name the test that fails (ARGS="-j 1 callback" goes to the script)
	@$(BIN)/python -m tests.mutants $(ARGS)

lint: $(READY)           ## style, types, import contracts, generated pages, compose.yaml
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose.yaml
	@$(BIN)/python -m docs.generate --check

docs: $(READY)           ## update the generated pages
	@$(BIN)/python -m docs.generate

bench: $(READY)          ## list the benchmarks; NAME=x runs one and writes bench/out/x.json
	@$(BIN)/python -m bench $(NAME)

screenshots: $(READY)    ## drive the demo page in Chromium and update the pictures of README and docs/cards.md
	@DARKROOM_SHOTS=docs/pictures $(BIN)/pytest -q -n 0 -m "" tests/sandbox/test_browser.py tests/sandbox/test_cards_page.py

wheel: $(READY)          ## build dist/darkroom-VERSION-py3-none-any.whl
	@$(BIN)/hatchling build --clean -t wheel

release: $(READY)        ## update changelog and version, build the wheel, commit and tag VERSION=x.y.z; pushes nothing
	@$(BIN)/python scripts/release.py $(VERSION)

lock: $(READY)           ## update the lock files (needs uv)
	echo simcord | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --upgrade --extra postgres --extra s3 --extra speed --excludes - pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --upgrade --all-extras -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf .venv demo-pictures bench/out dist

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Darkroom needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
