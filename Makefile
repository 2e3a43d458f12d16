# `make demo` and `make test` do all the set-up on a fresh machine; see `make help`.
#
# TORCH_INDEX is an extra package index for the small CPU wheels of torch. Empty it to take
# torch from pip's own sources, which on Linux is the CUDA build: make test TORCH_INDEX=
# When the index cannot be reached it is left out, with a notice.

PYTHON ?= python3
TORCH_VERSION ?= 2.13.0
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# Qt binding and napari to test with: pyqt6 or pyside6, and a version such as 0.7.0, or the newest.
# Any but the usual ones get an environment of their own, beside .venv.
QT ?= pyqt6
NAPARI ?=
PYTEST_ARGS ?=
# Test files that run at the same time; 0 for one after the other in one process.
WORKERS ?= 2
DEMO_ARGS ?=

KIND := $(if $(filter-out pyqt6,$(QT)),-$(QT))$(if $(NAPARI),-napari-$(NAPARI))
VENV := .venv$(KIND)
BIN := $(VENV)/bin
STAMPS := .stamps$(KIND)
TORCH_STAMP := $(STAMPS)/torch-$(TORCH_VERSION)

# An image layer needs OpenGL, hence a real (virtual) display and not Qt's `offscreen`.
# An empty NAPARI_CONFIG keeps tests away from the user's own napari settings.
# One thread: the tests' networks are so small that a second one costs more than it gives.
TEST_ENV := env -u QT_QPA_PLATFORM LIBGL_ALWAYS_SOFTWARE=1 NAPARI_CONFIG= QT_API=$(QT) \
	PYTEST_QT_API=$(QT) OMP_NUM_THREADS=1
ifeq ($(shell uname -s),Linux)
XVFB := xvfb-run -a -s "-screen 0 1920x1200x24"
endif

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo screenshots test lint format sample-data build clean distclean

help: ## List what make can do
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sort \
		| awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo
	@echo "Variables: PYTHON=$(PYTHON) TORCH_VERSION=$(TORCH_VERSION)"
	@echo "           TORCH_INDEX=$(TORCH_INDEX) (TORCH_INDEX= for the CUDA build)"
	@echo "           PYTEST_ARGS=... DEMO_ARGS=... WORKERS=$(WORKERS)"
	@echo "           QT=$(QT) (or pyside6) NAPARI=$(NAPARI) (such as 0.7.0; the newest if empty)"

install: $(STAMPS)/install ## Set up .venv with torch, the project and its tools

demo: $(STAMPS)/install ## The whole method on synthetic images of three sites -> demo-output/
	$(BIN)/ppcmi demo --out demo-output $(DEMO_ARGS)
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname -s)" = Darwin ]; then \
		$(BIN)/python scripts/demo_window.py; \
	else echo "There is no display, so napari is not opened."; fi

screenshots: $(STAMPS)/install $(STAMPS)/display ## Pictures of every page -> docs/images/
	$(TEST_ENV) $(XVFB) $(BIN)/python scripts/screenshots.py

test: $(STAMPS)/install $(STAMPS)/display ## Every test, with a real napari under a virtual display
	$(TEST_ENV) $(XVFB) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(STAMPS)/install ## Style, types, direction of imports, the plugin's manifest
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/npe2 validate --imports napari_ppcmi/napari.yaml

format: $(STAMPS)/install ## Let ruff mend style and order of imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sample-data: $(STAMPS)/install ## Make sample_data/ anew from its seed
	$(BIN)/ppcmi demo --sample-data sample_data

build: $(STAMPS)/install ## Wheel and source distribution -> dist/
	$(BIN)/python -m build --no-isolation

clean: ## Remove outputs and caches, keep .venv
	rm -rf demo-output build dist htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find src_core napari_ppcmi tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + \
		2>/dev/null || true

distclean: clean ## Remove .venv as well
	rm -rf .venv .venv-* .stamps .stamps-*

# A stamp is written only after its step went well, so a broken step is done again.

$(STAMPS)/display: scripts/system_packages.sh
	scripts/system_packages.sh display
	@mkdir -p $(@D) && touch $@

# pyvenv.cfg is written when the environment is made and never after: an environment that was
# removed and made anew is newer than the stamps, and everything goes into it again.
$(VENV)/pyvenv.cfg:
	PYTHON="$(PYTHON)" scripts/system_packages.sh venv
	"$(PYTHON)" -m venv $(VENV)

$(TORCH_STAMP): $(VENV)/pyvenv.cfg
	scripts/install_torch.sh $(BIN)/python "$(TORCH_VERSION)" "$(TORCH_INDEX)"
	@mkdir -p $(@D) && rm -f $(STAMPS)/torch-* && touch $@

$(STAMPS)/install: pyproject.toml $(TORCH_STAMP)
	$(BIN)/python -m pip install -e ".[tools,$(QT)]" $(if $(NAPARI),"napari==$(NAPARI)")
	@mkdir -p $(@D) && touch $@
