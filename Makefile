# Each target sets up what it needs in .venv; a fresh clone needs Python >= 3.11, make, git and a C compiler at most.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyPI's plain torch brings gigabytes of CUDA; the CPU build is all that training here needs.
TORCH := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu

.PHONY: demo test test-train lint bench fuzz clean

demo: $(VENV)/.base
	$(BIN)/pyad replay tests/data/hospital.pcap --engine dpkt --out demo-out

test: $(VENV)/.dev lint
	$(BIN)/python -m pytest -m "not train"

test-train: $(VENV)/.train
	$(BIN)/python -m pytest -m train

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.base
	$(BIN)/python -m tests.bench

# The property-based tests over decoder, log readers and bundle loader with twenty times the examples.
fuzz: $(VENV)/.dev
	FUZZ_TIMES=20 $(BIN)/python -m pytest tests/fuzz tests/unit/test_onnx_check.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pyad needs Python 3.11 or newer; $(PYTHON) is older (make PYTHON=python3.12 demo)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python3 -m venv failed; on Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.base: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.base
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(VENV)/.train: pyproject.toml $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(TORCH)' --extra-index-url $(TORCH_INDEX)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	@touch $@

clean:
	rm -rf $(VENV) demo-out build dist
