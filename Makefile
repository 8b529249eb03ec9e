# Every target does its own set-up: once, and again when the versions change.
#   make lab | grade | test | build | audit | bench
# Settings: PYTHON=python3.12, TORCH_INDEX=URL (another build of torch), ARGS="more options for the command".
PYTHON ?= python3
export TORCH_INDEX
export PATH := $(CURDIR)/.venv/bin:$(PATH)
READY := .venv/.ready

.PHONY: ready lab grade test build audit bench
ready: $(READY)
	@echo "Ready: make lab | grade | test | build | audit | bench, or .venv/bin/unit24 --help"

$(READY): requirements.lock pyproject.toml tools/venv.py
	@$(PYTHON) tools/venv.py

lab: $(READY)
	@jupyter lab --ServerApp.root_dir=notebooks $(ARGS)

grade: $(READY)
	@unit24 class sample_class && unit24 grade --root sample_class $(ARGS) && unit24 report --root sample_class

test: $(READY)
	@pytest -n 2 --dist loadgroup $(ARGS)

build: $(READY)
	@unit24 build $(ARGS)

audit: $(READY)
	@unit24 audit $(ARGS)

bench: $(READY)
	@python tools/bench.py $(ARGS)
