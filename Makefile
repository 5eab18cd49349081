# `make demo` opens the explorer in JupyterLab; `make test` runs every check. Needs Python 3.11+, Node 20+ and npm.
# `make help` lists the rest. Everything is installed into $(VENV) and js/node_modules, and only when it is out of date.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8888
IP ?= localhost
NOTEBOOK ?= notebooks/00_explorer.ipynb

BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
LAB_SETTINGS := $(VENV)/share/jupyter/lab/settings/overrides.json
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
BUNDLE := nbcnnviz/static/frame.js nbcnnviz/static/frame.css
BUNDLE_SOURCES := $(shell find js/src -type f) js/package.json js/build.mjs $(wildcard js/tsconfig.json)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test install js lint js-test unit notebooks notebooks-write notebooks-browser binder-check docs gallery browser engines chromium kernels bench layout screenshots film pages package clean distclean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Variables: PYTHON=$(PYTHON) VENV=$(VENV) PORT=$(PORT) IP=$(IP) ARGS= (for pytest and bench)"

# --- what people come for ---------------------------------------------------------------------------------------------

demo: $(STAMPS)/demo js $(LAB_SETTINGS) ## open the explorer in JupyterLab, on PORT or the next free one
	@-$(BIN)/jupyter trust $(NOTEBOOK) >/dev/null 2>&1
	@set --; \
	if [ "$$(id -u)" = 0 ]; then set -- "$$@" --allow-root; fi; \
	if [ "$$(uname)" != Darwin ] && [ -z "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ]; then set -- "$$@" --no-browser; \
	elif ! $(BIN)/python -c 'import webbrowser; webbrowser.get()' 2>/dev/null; then set -- "$$@" --no-browser; fi; \
	echo "Opening $(NOTEBOOK); Ctrl+C twice ends it. The address to open, with its token, is printed below."; \
	unset JUPYTER_PATH; JUPYTER_PREFER_ENV_PATH=1 exec $(BIN)/jupyter lab "$$@" \
	  --ip='$(IP)' --port='$(PORT)' --ServerApp.port_retries=50 --ServerApp.root_dir='$(CURDIR)' \
	  --LabApp.default_url='/lab/tree/$(NOTEBOOK)' --LabApp.extension_manager=readonly \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate --LabApp.news_url=None

test: lint js-test unit browser ## every check: style, types, the front end's tests, pytest with a real browser

install: $(STAMPS)/dev js ## the package, editable, with all that development needs

# --- what those are made of -------------------------------------------------------------------------------------------

js: $(BUNDLE) ## the front end, into nbcnnviz/static

lint: $(STAMPS)/dev js ## ruff, mypy, and the front end's types and style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd js && npm run check

js-test: js ## the front end's own tests
	cd js && npm test

unit: $(STAMPS)/dev js ## pytest, all but what needs a browser
	$(call pytest,-q -n 2 -m "not browser")

notebooks: $(STAMPS)/dev js ## execute every notebook
	$(call pytest,-q tests/test_notebooks.py)

notebooks-write: $(STAMPS)/dev js ## execute the notebooks that changed and keep their outputs: ARGS=--all for every one
	$(BIN)/python -m tests.lessons $(ARGS)

notebooks-browser: $(STAMPS)/dev js chromium ## every notebook in a real JupyterLab: all widgets shown, no error on the console
	NOTEBOOKS=all $(call pytest,-q tests/browser/test_notebooks.py)

binder-check: $(STAMPS)/dev js ## follow binder/ in a fresh environment, run notebook 00, measure memory; takes minutes
	$(BIN)/python -m tests.binder $(ARGS)

browser: $(STAMPS)/dev $(STAMPS)/kernels js chromium ## the tests in a real JupyterLab; screenshots land in artifacts/
	$(call pytest,-q -rs -n 2 --dist loadfile -m browser)

engines: $(STAMPS)/dev js chromium ## the main acts in Chromium, Firefox and WebKit: those that are installed; a part of browser
	$(call pytest,-q -rs tests/browser/test_engines.py)

bench: $(STAMPS)/dev js chromium ## how fast, beside other tools: ARGS="api --quick"
	CHROMIUM="$$(.ci/chromium)" $(BIN)/python -m tests.benchmarks $(ARGS)

layout: $(STAMPS)/dev js chromium ## what of the explorer is on the screen at usual sizes, what is cut off, clicks, shifts
	CHROMIUM="$$(.ci/chromium)" $(BIN)/python -m tests.layout

screenshots: $(STAMPS)/dev js chromium ## every panel, for the documentation: ARGS="explain weights"
	CHROMIUM="$$(.ci/chromium)" $(BIN)/python -m tests.screenshots $(ARGS)

film: $(STAMPS)/dev js chromium ## the animated picture of the README, of a real JupyterLab
	CHROMIUM="$$(.ci/chromium)" $(BIN)/python -m tests.film

pages: $(STAMPS)/dev ## notebooks/methods.md and recipes.md, from the registers
	$(BIN)/python -m nbcnnviz.attribution.page notebooks/methods.md
	$(BIN)/python -m nbcnnviz.synthesis.page notebooks/recipes.md

docs: $(STAMPS)/dev ## the documentation, into artifacts/docs: offline, and no warning passes
	$(BIN)/python -m sphinx -W --keep-going -q notebooks artifacts/docs
	@echo "artifacts/docs/index.html"

gallery: $(STAMPS)/dev js ## every method and recipe as a picture, for the documentation: ARGS="rise dream" for some
	$(BIN)/python -m tests.gallery $(ARGS)

chromium: ## Chromium or Chrome, from the system's packages if there is none
	@.ci/chromium

kernels: $(STAMPS)/kernels ## the versions of ipykernel that the browser tests run in

package: $(STAMPS)/dev js ## a wheel and an sdist, in dist/
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m zipfile -l dist/*.whl | grep nbcnnviz/static/frame.js >/dev/null
	tar -tzf dist/*.tar.gz | grep nbcnnviz/static/frame.js >/dev/null

clean: ## remove what was built, but not what was installed
	rm -rf nbcnnviz/static dist build artifacts .pytest_cache .mypy_cache .ruff_cache
	find nbcnnviz tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove what was installed too
	rm -rf $(VENV) js/node_modules

# Chromium's path is for the browser tests; the interpreter's own directory comes first, so that `jupyter` is the venv's.
pytest = CHROMIUM="$$(.ci/chromium --if-there)" PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest $(1) $(ARGS)

# --- files ------------------------------------------------------------------------------------------------------------

$(STAMPS)/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is needed (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@

# One stamp for each extra; `dev` holds all that `demo` does.
$(STAMPS)/demo: pyproject.toml $(STAMPS)/venv | $(BUNDLE)
	$(PIP) install -e '.[demo]'
	@touch $@

$(STAMPS)/dev: pyproject.toml $(STAMPS)/venv | $(BUNDLE)
	$(PIP) install -e '.[dev]'
	@touch $@ $(STAMPS)/demo

$(STAMPS)/kernels: tests/browser/kernels.py $(STAMPS)/venv
	$(BIN)/python -m tests.browser.kernels
	@touch $@

# No question about news at the first start.
$(LAB_SETTINGS): $(STAMPS)/venv
	@mkdir -p $(@D)
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' > $@

js/node_modules/.stamp: js/package-lock.json js/package.json
	@command -v npm >/dev/null && node -e 'process.exit(+(process.versions.node.split(".")[0] < 20))' || \
	  { echo "Node 20 or later, with npm, is needed to build the front end." >&2; exit 1; }
	cd js && npm ci --no-audit --no-fund
	@touch $@

nbcnnviz/static/frame.js: js/node_modules/.stamp $(BUNDLE_SOURCES)
	cd js && npm run build
	@touch $(BUNDLE)

# Made together with frame.js; alone only if someone removed it.
nbcnnviz/static/frame.css: nbcnnviz/static/frame.js
	@[ -e $@ ] || (cd js && npm run build)
	@touch $@
