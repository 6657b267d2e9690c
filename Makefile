# Two commands: `make demo` and `make test`. Each sets up what it needs, once.
# PYTHON=/path/to/python3.11 names the Python to set up with; else python3 or python3.11 is taken, whichever will do.
# ARGS='--set model.dtype=bfloat16' goes on to `apportion demo`.
VENV   := .venv
BIN    := $(VENV)/bin
# A GPU machine takes the CUDA build of vLLM, any other the CPU build.
KIND   ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
OURS   := README.md apportion docs examples flows pipeline requirements research schemas tests
export PYTHON

.PHONY: demo test research lint setup lock clean
demo: setup
	@"$(BIN)/apportion" demo $(ARGS)

test: setup lint
	@"$(BIN)/python" -m pytest

# The workshop beside the package: `make test` runs none of it.
research: setup
	@"$(BIN)/python" -m pytest research/tests

lint: setup
	@"$(BIN)/ruff" check --quiet $(OURS) && "$(BIN)/ruff" format --check --quiet $(OURS) && "$(BIN)/mypy" --no-error-summary

setup:
	@bash requirements/install.sh $(KIND) "$(VENV)"

lock:
	cd requirements && for k in cpu cuda; do uv pip compile $$k.in --override overrides-$$k.txt $(UVFLAGS) \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-annotate --no-header -o $$k.lock; done

clean:
	rm -rf "$(VENV)"
