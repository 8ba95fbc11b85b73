# make demo: letters that no one drew, in some minutes.  make test: everything that must hold.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One thread a process: the tests run in one more of them than there are cores, because some do little but wait.
TEST_ENV := OMP_NUM_THREADS=1
TEST_PROCESSES = $(shell $(BIN)/python -c "import os; print(1 + len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 'auto')")

.PHONY: demo test browser web page lint format docs bench findings torture clean

demo: $(VENV)/.limner
	$(BIN)/limner demo

test: lint browser page
	$(TEST_ENV) $(BIN)/python -m pytest -n $(TEST_PROCESSES) $(ARGS)

# Reports are tested in a real browser. Where Debian's can be installed, it is; otherwise those tests fail and say this.
browser:
	@if [ -n "$$LIMNER_CHROMIUM" ] || ls "$$HOME"/.cache/ms-playwright/chromium-* >/dev/null 2>&1; then exit 0; fi; \
	for name in chromium chromium-browser google-chrome google-chrome-stable; do \
	  command -v $$name >/dev/null && exit 0; \
	done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Chromium, which opens the reports in the tests"; \
	  export DEBIAN_FRONTEND=noninteractive; \
	  { apt-get update && apt-get install -y --no-install-recommends chromium; } >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "no Chromium, so the tests of the report in a browser will fail; as root: apt-get install chromium" >&2

# The page that draws in a browser, and the studio's. It goes into the package, and from there into wheels.
web:
	@command -v npm >/dev/null || \
	  { echo "the page is built by Node 20 or newer with npm: nodejs.org, or your system's packages" >&2; exit 2; }
	cd web && npm ci && npm run build

# What tests of the page need: built, and no older than what it is built from. Without Node they fail, and say this.
page:
	@if command -v npm >/dev/null; then \
	  { test -d web/node_modules && test -f src/limner/web/index.html && \
	    test -z "$$(find web \( -name node_modules -o -name build -o -name test \) -prune -o \
	      -type f -newer src/limner/web/index.html -print)"; } || $(MAKE) --no-print-directory web; \
	else \
	  echo "no Node, so the page is not built and its tests will fail; install Node 20 or newer with npm, then: make web" >&2; \
	fi

lint: $(VENV)/.limner-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.limner-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pages in docs/ as a site, in build/docs.
docs: $(VENV)/.limner-test
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/docs
	@echo "build/docs/index.html"

# Every goal of speed and memory, side by side, in some ten minutes; ARGS="--only start reading" for parts.
bench: $(VENV)/.limner
	$(BIN)/python benchmarks/bench.py $(ARGS)
	$(BIN)/python benchmarks/plot.py

# The sources' questions, answered again: hours. LIMNER_TEST_DATA names the folder with the collections; ONLY="q05 q07" does some.
findings: $(VENV)/.limner-test
	$(BIN)/python experiments/findings/run.py $(if $(ONLY),--only $(ONLY))

# Everything that could be lost, for hours. Each writes its counts into benchmarks/reliability/results.
TORTURE := kills powercut faults fuzz hosts

torture: $(VENV)/.limner-test
	@failed=; for name in $(TORTURE); do \
	  echo "$$name"; $(TEST_ENV) $(BIN)/python benchmarks/reliability/$$name.py || failed="$$failed $$name"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Limner needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }

$(VENV)/.limner: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.limner-test: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test]'
	@touch $@ $(VENV)/.limner
