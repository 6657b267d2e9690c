# Two commands: `make demo` and `make test`. Each sets up what it needs, once.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A GPU machine takes the CUDA build of vLLM, any other the CPU build.
KIND   ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
LOCK   := requirements/$(KIND).lock
OURS   := README.md benchmarks docs examples flows pipeline schemas tests

.PHONY: demo test lint setup lock clean
demo: setup
	@$(BIN)/apportion demo

test: setup lint
	@$(BIN)/python -m pytest

lint: setup
	@$(BIN)/ruff check --quiet $(OURS) && $(BIN)/ruff format --check --quiet $(OURS) && $(BIN)/mypy --no-error-summary

setup: $(VENV)/.locked-$(KIND) $(VENV)/.installed

$(VENV)/.locked-$(KIND): $(LOCK)
	@PYTHON="$(PYTHON)" bash requirements/install.sh $(KIND) $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.locked-$(KIND)
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --no-index --editable .
	@touch $@

lock:
	cd requirements && for k in cpu cuda; do uv pip compile $$k.in --override overrides-$$k.txt $(UVFLAGS) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header -o $$k.lock; done

clean:
	rm -rf $(VENV)
