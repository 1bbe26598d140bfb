# The two commands are `make demo` and `make test`; `make help` lists the rest.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
RUN := $(UV) run --frozen

# A thousand processes are started here: none of them is to compile again what it imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo train serve test check unit down clean conformance bench-demo bench-serve bench-report bench-images bench-gate \
  bench-train bench-m3 bench-shop bench-scale bench-chaos

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

# uv itself, where the machine has none: from PyPI, into this folder.
.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check uv

setup: $(filter .uv/bin/uv,$(UV))  ## the project-local environment, with locked versions
	@$(UV) sync --frozen --quiet

demo: setup  ## from training to a promoted, load-tested Bento (STOP=1 stops it afterwards; SERVER=bentoml)
	@STOP=$(STOP) SERVER=$(SERVER) $(RUN) python -m demo

# The demo keeps its models in .noren/bentoml; from then on the `noren` commands of this folder look there, and so do these.
ifneq ($(wildcard .noren/noren.toml),)
train serve: export BENTOML_HOME ?= $(CURDIR)/.noren/bentoml
endif

train: setup  ## train every model of the shop (DATA=folder of the full data sets)
	$(RUN) python -m training $(if $(DATA),--data $(DATA))

serve: setup  ## all services of the shop behind one port, for development (ARGS="churn --port 8000")
	$(RUN) python -m bentos $(ARGS)

# Most tests wait for processes, so a few at a time fit on two cores; those of one file stay together.
# The quiet ones measure, and run alone.
test: check  ## everything that CI runs
	$(RUN) pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not quiet"
	$(RUN) pytest -m quiet

check: setup  ## formatting, lint, types, import rules
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) lint-imports

unit: setup  ## the tests that start no process: seconds
	$(RUN) pytest -m "not e2e"

down: setup  ## stop everything that the demo started
	@$(RUN) noren down

bench-demo: setup  ## seconds of each step of the demo, requests per second, memory
	$(RUN) python -m benchmarks.demo

# ARGS="--quick" and others: `python -m benchmarks.serve --help`.
bench-serve: setup  ## noren-serve beside its peers: requests per second, CPU, latency, overload; 40 minutes
	$(RUN) python -m benchmarks.serve $(ARGS)

# ARGS="--list" and others: `python -m benchmarks.gate --help`.
bench-gate: setup  ## how often the gate is right: slowdowns put into real services; 4 hours, may be interrupted
	$(RUN) python -m benchmarks.gate $(ARGS)

# ARGS="--quick" and others: `python -m benchmarks.scale --help`.
bench-scale: setup  ## a tick with 10 to 10,000 deployments: seconds, memory, queries
	$(RUN) python -m benchmarks.scale $(ARGS)

# ARGS="--list" and others: `python -m benchmarks.chaos --help`.
bench-chaos: setup  ## everything that can die, killed under traffic: requests that failed, seconds until it is well again
	$(RUN) python -m benchmarks.chaos $(ARGS)

bench-train: setup  ## train every model, and publish its scores (DATA=folder of the full data sets)
	$(RUN) python -m benchmarks.train $(if $(DATA),--data $(DATA))

bench-m3: setup  ## forecasts of all 3,003 series of the M3 competition; may be interrupted
	$(RUN) python -m benchmarks.forecast $(ARGS)

bench-shop: setup  ## how fast each service of the shop answers, beside `bentoml serve`; 10 minutes (NAMES="churn blur")
	$(RUN) python -m benchmarks.shop $(NAMES)

bench-images: setup  ## size of an image, seconds to make it again after a training (podman, root)
	$(RUN) python -m benchmarks.images

conformance: setup  ## the same questions to noren-serve and `bentoml serve`; writes the table of docs/serving.md
	$(RUN) pytest tests/serve/test_conformance.py --conformance-report docs/serving.md

bench-report: setup  ## every committed figure that does not hold
	@$(RUN) python -m benchmarks.report

clean: down  ## remove the demo's state
	rm -rf .noren
