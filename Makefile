# Every target does its own set-up: once, and again when the versions change.
#   make lab | grade | test | prove | build | audit | site | lane LANE=colab | bench
# Settings: PYTHON=python3.12, TORCH_INDEX=URL (another build of torch), ARGS="more options for the command".
PYTHON ?= python3
export TORCH_INDEX
READY := .venv/.ready
IN_VENV := export PATH="$(CURDIR)/.venv/bin:$$PATH" &&

LANE ?= latest

.PHONY: ready lab grade test prove build audit site lane bench
ready: $(READY)
	@echo "Ready: make lab | grade | test | prove | build | audit | site | lane | bench, or .venv/bin/unit24 --help"

$(READY): requirements.lock pyproject.toml tools/venv.py
	@$(PYTHON) tools/venv.py

lab: $(READY)
	@$(IN_VENV) unit24 work && jupyter lab --ServerApp.root_dir=work $(ARGS)

grade: $(READY)
	@$(IN_VENV) unit24 class sample_class --lesson 02 --lesson 04 && unit24 grade --root sample_class $(ARGS) && unit24 report --root sample_class

test: $(READY)
	@$(IN_VENV) pytest -n 2 --dist loadgroup --junitxml=.unit24/tests.xml $(ARGS)

prove: $(READY)
	@$(IN_VENV) unit24 prove $(ARGS)

build: $(READY)
	@$(IN_VENV) unit24 build $(ARGS)

audit: $(READY)
	@$(IN_VENV) unit24 audit $(ARGS)

site: $(READY)
	@$(IN_VENV) rm -rf .unit24/site && unit24 site .unit24/site $(ARGS)

lane: $(READY)
	@$(IN_VENV) unit24 lane $(LANE) $(ARGS)

bench: $(READY)
	@$(IN_VENV) python tools/bench.py $(ARGS)
