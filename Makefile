# make demo | test | lint | bench | setup. Each sets up what it needs; nothing outside .venv is changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Another torch than the locked one, for example a CPU or ROCm build: make setup TORCH="torch torchvision --index-url ..."
TORCH ?=
PYTEST_FLAGS ?=
# Processes that share the tests; a file's tests stay in one, because they share fixtures.
WORKERS ?= 2

COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --python-version 3.10 \
  --quiet --no-header

.PHONY: setup launchers demo test slow lint bench pretrain lock clean

setup: $(VENV)/.ready

$(BIN)/uv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv==0.13.9"

# `uv pip install` (not sync) keeps whatever else lives in the environment, a detectron2 of the user's among it.
# Importing all once at the end proves the set-up and leaves bytecode: without it every start takes 13 s, not 4.
$(VENV)/.ready: $(BIN)/uv requirements.lock requirements-detectron2.txt pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(if $(TORCH),$(BIN)/uv pip install --quiet --python $(BIN)/python --reinstall $(TORCH))
	$(BIN)/python -c "import detectron2" 2>/dev/null || $(BIN)/uv pip install --quiet --no-deps --require-hashes \
	  --python-version 3.10 --python-platform linux -r requirements-detectron2.txt \
	  --target "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(BIN)/python tools/remove_prebuilt_ops.py
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -W ignore -c \
	  "import ablation.preload, ablation.preview.__main__, ablation.report.build, ablation.report.figures.catalog, \
	  ablation.report.document.html, ablation.report.tensorboard"
	@touch $@

# Hydra's launchers for Slurm, Ray and joblib. Apart, because Hydra imports every installed one at each start.
launchers: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-launchers.lock

demo: setup
	$(BIN)/python -m ablation.run -m noise.sigma=0,0.05,0.1

test: setup
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

slow: setup
	$(BIN)/python -m pytest -m slow $(PYTEST_FLAGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

bench: setup
	$(BIN)/python -m benchmarks

pretrain: setup
	$(BIN)/python tools/pretrain.py

lock: $(BIN)/uv
	$(COMPILE) --extra dev --extra corruptions --output-file requirements.lock
	$(COMPILE) --extra dev --extra corruptions --extra submitit --extra ray --extra joblib \
	  --output-file requirements-launchers.lock

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
