# `make help` says what there is to make. PYTHON=... picks the interpreter of a new environment
# (3.10 or newer), VENV=... says where it is.
PYTHON ?= python3
VENV ?= .venv

# The stock toolboxes, which need Python 3.8 to 3.11, in an environment of their own.
VENV_OPENMMLAB ?= .venv-openmmlab
PYTHON_OPENMMLAB ?= $(PYTHON)

# How many files of tests run side by side.
JOBS ?= 2

# The models here are so small that one thread is as fast as two, and steady on a busy machine.
export OMP_NUM_THREADS ?= 1

BIN := $(VENV)/bin
BIN_OPENMMLAB := $(VENV_OPENMMLAB)/bin
STAMP := $(VENV)/.mm-infobatch-installed
DATA := data/shapes/scenes.txt
DRAW := tools/dataset_converters/make_segmentation_data.py
DEMO := work_dirs/demo
BASELINE := upernet_r18-slim_1xb8-1.2k_shapes-64x64
INFOBATCH := upernet_r18-slim_1xb8-infobatch-1.2k_shapes-64x64
SOURCES := $(shell find mm_infobatch configs/_base_ configs/demo -name '*.py')

# Two trainings at once would take each other's time.
.NOTPARALLEL:
.PHONY: help setup setup-openmmlab demo test test-runs test-gpu report test-faults test-openmmlab docs lint format clean

help:
	@echo 'make setup   the environment in $(VENV)'
	@echo 'make demo    train a small UperNet with and without InfoBatch, then table, curves and a page'
	@echo 'make test    ruff, mypy and the tests that take minutes'
	@echo 'make test-runs       the rest of the tests: the grids of which make test runs one case'
	@echo 'make test-gpu        what a GPU could change: mixed precision, its kernels, NCCL'
	@echo 'make report  write the tables and figures of the documents from the records'
	@echo 'make test-faults     kill, damage and move runs, and resume them;'
	@echo '                     RECORD=records/faults keeps the results, for docs/faults.md'
	@echo 'make test-openmmlab  all tests with the stock toolboxes, in $(VENV_OPENMMLAB), which it makes'
	@echo 'make docs    the documentation site, in docs/_build'
	@echo 'make lint    ruff (rules and format) and mypy'
	@echo 'make format  put the code into the style of the project'
	@echo 'make clean   remove what these made, but $(VENV)'

setup: $(STAMP)

# Made anew when pyproject.toml changes; pip leaves alone what is installed and fits.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo 'error: $(PYTHON) is older than 3.10; give a newer one: make PYTHON=python3.11'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[onedl,test]'
	@touch $@

demo: $(DEMO)/$(BASELINE)/.done $(DEMO)/$(INFOBATCH)/.done
	@$(BIN)/python -m mm_infobatch plot $(^D) --labels 'all data' InfoBatch --out $(DEMO)/curves.png
	@$(BIN)/python -m mm_infobatch summarize $(^D) --labels 'all data' InfoBatch
	@$(BIN)/python -m mm_infobatch inspect $(^D) --labels 'all data' InfoBatch --out $(DEMO)/inspect.html

$(DEMO)/%/.done: $(STAMP) $(DATA) $(SOURCES)
	rm -rf $(@D)
	$(BIN)/python -m mm_infobatch train configs/demo/$*.py --work-dir $(@D)
	@touch $@

$(DATA): $(STAMP) $(DRAW)
	rm -rf $(@D)
	$(BIN)/python $(DRAW) $(@D)

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-runs: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'runs and not faults'

test-gpu: $(STAMP)
	$(BIN)/python -m pytest --gpu tests/test_gpu.py

report: $(STAMP)
	$(BIN)/python tools/analysis_tools/experiment.py report

test-faults: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal tests/faults -m '' $(if $(RECORD),--faults-record $(RECORD))

test-openmmlab: setup-openmmlab
	$(BIN_OPENMMLAB)/python -m pytest -n $(JOBS) --dist loadfile tests tests/faults -m '' $(if $(RECORD),--faults-record $(RECORD))

# An environment that has the stack is left as it is, so that VENV_OPENMMLAB=... may name any.
# mmcv compiles, for a quarter of an hour, against the torch that is there, and needs a setuptools
# that still has pkg_resources.
setup-openmmlab:
	@$(BIN_OPENMMLAB)/python -W ignore -c 'import mmcv, mmengine, mmpretrain, mmseg, pytest, xdist, hypothesis; \
	    assert mmengine.__version__ == "0.10.7"' >/dev/null 2>&1 || $(MAKE) --no-print-directory .make-openmmlab

.PHONY: .make-openmmlab
.make-openmmlab:
	@test -x $(BIN_OPENMMLAB)/python || $(PYTHON_OPENMMLAB) -c \
	    'import sys; sys.exit(not (3, 8) <= sys.version_info[:2] <= (3, 11))' \
	    || { echo 'error: the stock toolboxes need Python 3.8 to 3.11, which $(PYTHON_OPENMMLAB) is not;' \
	         'give one: make test-openmmlab PYTHON_OPENMMLAB=python3.11'; exit 1; }
	@test -x $(BIN_OPENMMLAB)/python || $(PYTHON_OPENMMLAB) -m venv $(VENV_OPENMMLAB)
	$(BIN_OPENMMLAB)/python -m pip install 'setuptools<70' wheel 'numpy<2' 'opencv-python<4.12' \
	    'torch>=2.1,<2.2' 'torchvision>=0.16,<0.17'
	$(BIN_OPENMMLAB)/python -m pip install --no-build-isolation 'mmcv==2.1.0'
	$(BIN_OPENMMLAB)/python -m pip install -e '.[openmmlab,test]'

docs: $(STAMP)
	@$(BIN)/python -c 'import furo, myst_parser' 2>/dev/null || $(BIN)/python -m pip install -e '.[docs]'
	$(BIN)/python -W ignore -m sphinx -q -W --keep-going -b html docs docs/_build

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO) data/shapes docs/_build build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
