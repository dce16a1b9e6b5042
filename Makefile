# `make run` and `make test` do everything on this machine; `make rehearse` runs the cloud recipe against an emulated
# Azure. Needs Python 3.11+, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS := serve,flow,chat

.PHONY: run rehearse test docs install install-azure install-dev install-docs constraints clean

run: install
	$(BIN)/python -m phi_runner +recipe=full

rehearse: install-azure
	$(BIN)/python -m phi_runner +recipe=full compute=azure_cpu deploy=azure flow=foundry azure=rehearsal

test: install-dev
	PATH="$(abspath $(BIN)):$$PATH" scripts/check

docs: install-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m scripts.docs.links build/site

install: $(VENV)/.installed

install-azure: $(VENV)/.installed-azure

install-dev: $(VENV)/.installed-dev

install-docs: $(VENV)/.installed-docs

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("phi_runner needs Python 3.11 or newer: make run PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]'
	touch $@

$(VENV)/.installed-azure: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS),rehearsal]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS),onnx,rehearsal,dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS),docs]'
	touch $@

constraints: install-dev
	{ head -1 constraints.txt; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//'; } > constraints.new
	mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist
