# make demo   install, build with --robust on real Fashion-MNIST, verify and bench
# make test   install and an emulated 64-bit Arm, then all tests, lint, types and import contracts
# make lint   ruff, mypy, import-linter
# make bench  the benchmarks of this repository
# make fuzz   mutated files of every kind, for a quarter of an hour; FUZZ="--bundles 200 --inputs 50 --seed 7" for others
# make soak   kills, full disks, two writers, threads; SOAK="--kills 10 --disk 0 --writers 0" for fewer
# make gpu    every check that needs a GPU; results in out/gpu/check.json
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
DATA := /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
FUZZ ?= --bundles 20000 --inputs 5000 --seed 0 --json bench/results/fuzz.json
SOAK ?= --kills 100 --disk 1 --writers 20 --calls 10000 --concurrent 1000000 --seed 0 --json bench/results/soak.json
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: demo test lint bench fuzz soak gpu clean install

demo: install $(DATA)
	$(BIN)/toolchain build --recipe demo --robust --out out/demo --overwrite
	$(BIN)/toolchain verify out/demo
	$(BIN)/toolchain bench out/demo --images 500

test: install $(DATA) $(VENV)/arm64/python lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=$(VENV)/typing $(BIN)/mypy --config-file pyproject.toml -p hardtemper
	$(BIN)/lint-imports

bench: install $(DATA)
	$(BIN)/python -m hardtemper.toolchain.studies.engine_latency --json bench/results/engines.json
	$(BIN)/python -m hardtemper.toolchain.studies.startup_time --json bench/results/startup.json

fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/fuzz/campaign.py $(FUZZ)

soak: install
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore tests/soak/soak.py $(SOAK)

gpu: install $(DATA)
	$(BIN)/python tests/gpu/check.py --out out/gpu

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	$(PIP) install --quiet --no-deps --constraint constraints.txt torchvision
	$(PIP) install --quiet --constraint constraints.txt --editable '.[build,dev]'
	mkdir -p $(VENV)/typing && ln -sfn $(CURDIR) $(VENV)/typing/hardtemper
	touch $@

# ONNX Runtime on an emulated 64-bit Arm, for tests/engines
$(VENV)/arm64/python: tests/engines/prepare_arm64.sh | install
	bash $< $(@D)

# real images; Debian packages them, elsewhere `--download` fetches them
$(DATA):
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq dataset-fashion-mnist

clean:
	rm -rf $(VENV) out build dist *.egg-info
