# Every habit is one word. The test bed (make cluster) needs root on Debian 12; see tests/cluster/README.md.

PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
# Python keeps what it compiled, whatever the shell says: else each command that a test starts compiles the package anew.
export PYTHONDONTWRITEBYTECODE :=
# One more than there are processors: a test of the bed waits for Slurm most of its time. Its files are collected first, and the
# quick ones at the end leave no worker without work.
WORKERS := $(shell expr $$(nproc) + 1)
# What `make test-unit` runs of the package's lines and branches, in percent. It may only rise: whoever raises the coverage raises this too.
COVERAGE := 90
SCRIPTS := $(wildcard job_templates/*.sh job_templates/*/*.sh job_templates/*/*/*.sh) $(wildcard tests/gpu/*.sh) .ci/run

.PHONY: help demo test test-unit gpu-check shellcheck tex validator trivy chromium check format bench faults wheel lock cluster cluster-down cluster-status clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 18

demo: cluster  ## set up the test bed and run the main job: examples/digits, submitted, waited for, its record printed
	@$(PYTHON) -m tests.cluster demo

test: $(BIN)/.ready shellcheck tex validator trivy chromium cluster  ## every test, those on real Slurm, Docker and registry among them
	@$(PYTHON) -m tests.cluster install
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore tests/faults/test_faults.py --ignore tests/faults/test_daemons.py
	$(BIN)/python -m pytest tests/faults/test_faults.py tests/faults/test_daemons.py  # alone: they restart daemons of the bed

test-unit: $(BIN)/.ready  ## what needs no root, Slurm, docker or cluster, with the coverage of branches; for any laptop
	$(BIN)/python -W 'ignore:Unable to activate pytest branch coverage' -m slipcover --json --out .coverage.json \
	  -m pytest --numprocesses $(WORKERS) --ignore tests/cluster --ignore tests/faults --ignore tests/bench --ignore tests/test_layers.py -m 'not slow'
	$(BIN)/python -m slipcover --merge .coverage.json --out .coverage.json --fail-under $(COVERAGE) || { echo "the coverage (the last line above) is below $(COVERAGE) %"; exit 1; }

gpu-check:  ## on any machine with an NVIDIA driver: what there differs from the test bed's stand-ins (docs/gpu-check.md)
	@$(PYTHON) -m tests.gpu $(OPTIONS)

check: $(BIN)/.ready shellcheck  ## ruff, mypy strict, shellcheck, layering
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	shellcheck --external-sources $(SCRIPTS)
	$(BIN)/python -m pytest -q tests/test_layers.py

format: $(BIN)/.ready  ## let ruff lay out the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(BIN)/.ready cluster  ## the table of docs/benchmarks.md, measured here and now beside the peers
	@$(PYTHON) -m tests.cluster install
	$(BIN)/python -m tests.bench

faults: $(BIN)/.ready cluster  ## every way in which a job ends, on the test bed, and every cut of a submission, as the tables of docs/lifetimes.md and docs/submission.md
	@$(PYTHON) -m tests.cluster install
	$(BIN)/python -m tests.faults
	$(BIN)/python -m tests.faults.submission

shellcheck:
	@command -v shellcheck >/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends shellcheck)

tex:
	@{ command -v biber && kpsewhich CJKutf8.sty; } >/dev/null || (apt-get update -qq && \
	  apt-get install -y -qq --no-install-recommends texlive-latex-base texlive-latex-recommended \
	  texlive-bibtex-extra biber latex-cjk-chinese latex-cjk-chinese-arphic-gbsn00lp)

validator:  ## roc-validator in an environment of its own, for the tests of crates
	@$(PYTHON) -m tests.validator

trivy: $(BIN)/.ready  ## the scanner of images, for its tests
	@$(BIN)/python -m tests.trivy

chromium:  ## the browser, for the tests of notebooks and TensorBoard
	@test -x /usr/bin/chromium || (apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium)

wheel: $(BIN)/.ready  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

lock:  ## renew requirements-ci.txt: the newest versions that setup.cfg allows, for every Python and platform, with hashes
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/lock/bin/uv --no-config pip compile --quiet --upgrade --universal --python-version 3.10 --generate-hashes \
	  --custom-compile-command 'make lock' --default-index https://pypi.org/simple --extra dev setup.cfg \
	  --output-file requirements-ci.txt
	for name in validator/requirements validator/context trivy/requirements; do \
	  $(VENV)/lock/bin/uv --no-config pip compile --quiet --universal \
	  --python-version 3.10 --generate-hashes $$([ $$name = validator/requirements ] || echo --no-deps) \
	  --custom-compile-command 'make lock' --default-index https://pypi.org/simple tests/$$name.in \
	  --output-file tests/$$name.txt || exit; done
	rm -rf $(VENV)/lock

cluster:  ## start the test bed (two Slurm clusters and more); quick when it is up
	@$(PYTHON) -m tests.cluster up

cluster-down:  ## stop the test bed; its data stay, so the next start is quick
	@$(PYTHON) -m tests.cluster down

cluster-status:  ## what of the test bed is up
	@$(PYTHON) -m tests.cluster status

clean:  ## remove what was built here (not the test bed)
	rm -rf $(VENV) build dist *.egg-info .coverage.json .mypy_cache .ruff_cache .pytest_cache

$(BIN)/.ready: setup.cfg pyproject.toml requirements-ci.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || (apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-ci.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
