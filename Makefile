# SPDX-License-Identifier: MIT
# `make demo` and `make test` do everything from a fresh clone; they need Python 3.10 to 3.13 and g++.

PYTHON ?= python3

venv := .venv
bin := $(venv)/bin
check_python = $(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "uma-md needs Python 3.10 to 3.13: make PYTHON=python3.x")'
installed := $(venv)/.installed
pip := $(bin)/python -m pip -qq --disable-pip-version-check install --constraint requirements/constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo docs check test test-all test-torch test-gpu wheels lint fuzz soak sanitize clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(installed)  ## make the environment .venv and build the LAMMPS plugin
	@$(bin)/uma-md plugin build

demo: setup  ## run liquid water in LAMMPS on 2 MPI ranks
	@$(bin)/python examples/water/run.py

docs: $(installed)  ## build the site from docs/ into build/site
	@$(bin)/python -m sphinx -b html -W --keep-going -q docs build/site
	@echo build/site/index.html

# Three lanes: while writing, before every merge, once a week.
# Two workers, of which one takes over tests of the other when its own are done: files stay together.
WORKERS ?= 2
pytest = $(bin)/python -m pytest -q -n $(WORKERS) --dist worksteal
quick := not (slow or extended or lammps or mpi or ipi)

check: setup lint  ## check style and types, then run the quick tests
	@$(pytest) -m "$(quick)"

test: setup lint  ## check style and types, then run all tests but those that take minutes
	@$(pytest) -m "not extended"

test-all: setup lint  ## check style and types, then run all tests
	@$(pytest)
	@$(pytest) -m gpu --gpu-rehearsal

# In one process: a test takes nearly all of the device's memory.
test-gpu: setup  ## compare an accelerator with the CPU
	@$(pytest) -n 0 -m gpu

# Another torch in an environment of its own, with its own plugin. All else is as pinned, but setuptools is
# the newest that every such torch takes.
TORCH ?= 2.13.0
other := build/torch-$(TORCH)
other_bin := $(other)/venv/bin
other_pip := $(other_bin)/python -m pip -qq --disable-pip-version-check install --constraint $(other)/constraints.txt
torch_tests := nn reference export torchscript calculator unsafe_files unsafe_exported lammps mpi \
  ipi_batches ipi_ranks gpu

test-torch: $(other)/.installed  ## test what another torch can break: make test-torch TORCH=2.11.0
	@export XDG_CACHE_HOME=$(CURDIR)/$(other)/cache && $(other_bin)/uma-md plugin build && \
	  $(other_bin)/python -m pytest -q -m "not extended" $(torch_tests:%=tests/test_%.py)

$(other)/.installed: pyproject.toml setup.py requirements/constraints.txt
	@$(check_python)
	@mkdir -p $(other)
	@sed 's/^torch==.*/torch==$(TORCH)/; s/^setuptools==.*/setuptools==81.0.0/' requirements/constraints.txt > $(other)/constraints.txt
	@test -x $(other_bin)/python || $(PYTHON) -m venv $(other)/venv
	@echo "Installing torch $(TORCH) into $(other)/venv (with CUDA 5 GB)"
	@$(other_pip) torch==$(TORCH)
	@$(other_pip) setuptools wheel
	@$(other_pip) --no-build-isolation --editable '.[lammps,ipi,demo,docs,test,wheels]'
	@touch $@

# Each torch has an environment of its own in build/wheels, where its libraries are compiled.
TORCHES ?= 2.11.0 2.12.1 2.13.0 2.14.1
wheels: $(installed)  ## build a wheel that needs no compiler, and the sources, in dist/: make wheels TORCHES=2.13.0
	@$(bin)/python packaging/wheels.py --output dist $(TORCHES)

# The last NumPy for Python 3.10 declares other types than the later ones, which are checked.
lint: $(installed)  ## check style and types
	@$(bin)/ruff check --quiet
	@$(bin)/ruff format --quiet --check
	@if $(bin)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(bin)/mypy --no-error-summary; fi
	@$(bin)/clang-format --dry-run -Werror $(wildcard $(foreach folder,lammps_plugin uma_md/kernels tests/gpu_stand_in tests/amx_stand_in,$(folder)/*.cpp $(folder)/*.h $(folder)/*.cu))

# atheris is built for few Python versions, so it has an environment of its own.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= record messages checkpoint
fuzz_python := build/fuzz/venv/bin/python
site_packages = $(shell $(bin)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

fuzz: $(installed)  ## feed the readers of files and messages mutated input
	@test -x $(fuzz_python) || $(PYTHON) -m venv build/fuzz/venv
	@$(fuzz_python) -m pip -qq --disable-pip-version-check install atheris==3.0.0
	@$(bin)/python fuzz/seeds.py build/fuzz/corpus
	@for target in $(FUZZ_TARGETS); do \
	  PYTHONPATH=.:$(site_packages) OMP_NUM_THREADS=1 $(fuzz_python) fuzz/$$target.py build/fuzz/corpus/$$target \
	    -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=20 -max_len=8192 \
	    -artifact_prefix=build/fuzz/ || exit 1; \
	done

TRIALS ?= 0:200

soak: setup  ## compare LAMMPS with ASE on many random systems
	@$(bin)/python -m pytest tests/test_random_systems.py --trials $(TRIALS) --most-atoms 300

# The plugin has a cache of its own. Python, MPI and torch are as they were, so leaks are not looked
# for; dlopen goes through the sanitizer, which does not see the plugin's own search path.
sanitized := XDG_CACHE_HOME=$(CURDIR)/build/sanitized
torch_libraries = $(shell $(bin)/python -c 'import torch; print(torch.__path__[0])')/lib
sanitized_tests := lammps_errors random_systems workflows_atoms candidates overlap
sanitize: setup  ## run tests of the plugin under AddressSanitizer and UBSan
	@$(sanitized) CXXFLAGS="-fsanitize=address,undefined -fno-sanitize=vptr -fno-sanitize-recover=undefined -g" \
	  $(bin)/uma-md plugin build
	@$(sanitized) ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  LD_LIBRARY_PATH="$(torch_libraries):$$($(sanitized) $(bin)/uma-md plugin path)" \
	  LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libubsan.so)" \
	  $(bin)/python -m pytest $(sanitized_tests:%=tests/test_%.py)

clean:  ## remove the environment and what tools left behind
	@rm -rf $(venv) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch comes first and alone, so that nothing else chooses its version. The project itself is built with
# the setuptools of the environment: an isolated build would fetch another torch.
$(installed): pyproject.toml setup.py requirements/constraints.txt
	@$(check_python)
	@echo "Installing into $(venv) (torch is large: minutes the first time)"
	@$(PYTHON) -m venv $(venv)
	@$(pip) torch==2.13.0
	@$(pip) setuptools wheel
	@$(pip) --no-build-isolation --editable '.[lammps,ipi,demo,docs,test,wheels]'
	@touch $@
