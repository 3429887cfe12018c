# diemcau. Each target installs what it needs, once; a second run needs no network.
#
#   make demo            a simulated room on this machine, live; Ctrl-C ends it
#   make demo ONCE=1     one self-test of that room, its report; exit 0 only where the room is ready
#   make setup           .venv with diemcau-agent and diemcau-sim
#   make test            the whole suite (ARGS="-k camera" for a part)
#   make check           ruff, pyright, import-linter, shellcheck, exposure of the units
#   make bench           the budgets, measured (BENCH=full for a whole probe period at rest)
#   make torture         the faults of the table, in slices that add up (MINUTES=20, ROWS=kill,line; REPORT=1: the table; QUICK=1: the quick form)
#   make deb             dist/diemcau_VERSION_ARCH.deb, the kit's package (ARCH=arm64, VERSION=, PACKAGE=diemcau-fleet: the centre's)
#   make test-package    installs it on bookworm and trixie, each under a systemd of its own, offline (ARGS="-k trixie")
#   make test-arm64      the arm64 package on both, emulated: every wheel imported, the agent run
#   make hostile         hostile commands against the real dispatcher, none may run (COUNT=100000, SEED=)
#   make fuzz            atheris on every reader of foreign bytes (MINUTES=10, FUZZ=jws,keys for some, ARGS=--keep)
#   make virtual-kit     the package on real drivers, in a machine whose kernel plays the room (QUICK=1: the quick form)
#   make audit           known holes in what is installed; needs the network
#   make schema          docs/schema and docs/codes.md, from the code
#   make picture         docs/demo.svg, from a real run
#   make lock            requirements/*.txt from *.in, with hashes (UPGRADE=1 for newer versions)
#   make fresh           clone and demo on a bare Debian made here (SUITE=bookworm, TEST=1 for the suite)
#   make clean           removes .venv and every cache
#
# PYTHON=python3.13 chooses the interpreter.

PYTHON ?= python3
SUITE ?= trixie
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo check test deb test-package test-arm64 virtual-kit bench torture hostile fuzz audit schema \
	picture lock fresh clean packages packages-dev

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

setup: packages .venv/demo.stamp

demo: setup
	@exec $(BIN)/diemcau-sim demo $(if $(ONCE),--once)

check: packages-dev .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports
	shellcheck .ci/run provisioning/*.sh provisioning/package/*.sh provisioning/virtual-kit/*.sh provisioning/image/*.sh \
		provisioning/virtual-kit/init provisioning/virtual-kit/root/usr/local/sbin/kit-devices \
		provisioning/virtual-kit/root/usr/local/sbin/kit-vivid
	shellcheck provisioning/image/files/usr/local/sbin/*
	shellcheck --shell sh provisioning/package/*/postinst provisioning/package/*/prerm provisioning/package/*/postrm
	provisioning/secrets.sh
	provisioning/exposure.sh

# Three for two cores: most of it waits for rooms, brokers and deadlines.
test: packages-dev .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal $(or $(ARGS),--ignore tests/torture --ignore tests/package)

bench: packages-dev .venv/dev.stamp
	@failed=; for one in bench reflector_bench line_bench line_bytes; do echo "== $$one"; \
		PYTHONPATH=tests $(BIN)/python tests/bench/$$one.py || failed="$$failed $$one"; \
	done; test -z "$$failed" || { echo "over budget:$$failed"; exit 1; }

torture: packages-dev .venv/dev.stamp
ifeq ($(QUICK),)
	PYTHONPATH=tests $(BIN)/python tests/torture/torture.py --minutes $(or $(MINUTES),20) \
		$(if $(ROWS),--rows $(ROWS)) $(if $(REPORT),--report)
else
	$(BIN)/python -m pytest --numprocesses 2 tests/torture $(ARGS)
endif

deb: .venv/demo.stamp
	@$(if $(ARCH),ARCH=$(ARCH)) $(if $(VERSION),VERSION=$(VERSION)) provisioning/package/build.sh $(PACKAGE)

test-package: packages-dev .venv/dev.stamp
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal tests/package -m package $(ARGS)

# One process: what is installed once, both suites side by side, serves every test.
test-arm64: packages-dev .venv/dev.stamp
	@provisioning/packages.sh arm64 $(PYTHON)
	$(BIN)/python -m pytest tests/package -m arm64 --durations 0 --durations-min 1 $(ARGS)

hostile: packages-dev .venv/dev.stamp
	PYTHONPATH=tests $(BIN)/python tests/hostile/onslaught.py --count $(or $(COUNT),100000) $(if $(SEED),--seed $(SEED))

fuzz: packages-dev .venv/dev.stamp
	PYTHONPATH=tests $(BIN)/python tests/fuzz/fuzzing.py --minutes $(or $(MINUTES),10) $(if $(FUZZ),--only $(FUZZ)) $(ARGS)

# One process, for the machine under test wants both cores; in order, for it is one machine that lives through them.
virtual-kit: packages-dev .venv/dev.stamp
	@provisioning/virtual-kit/qemu.sh
	@provisioning/packages.sh kit $(PYTHON)
	$(BIN)/python -m pytest tests/hil -p no:randomly -m "hil$(if $(QUICK), and quick)" -raP --durations 0 --durations-min 1 $(ARGS)
ifeq ($(QUICK)$(ARGS)$(CUTS)$(DIEMCAU_DEB),)
	@provisioning/virtual-kit/form.sh --passed
endif

audit: .venv/dev.stamp
	provisioning/audit.sh

schema: setup
	$(BIN)/diemcau-agent schema --out docs

picture: setup
	$(BIN)/diemcau-sim demo --picture docs/demo.svg --language en

lock: .venv/dev.stamp
	provisioning/lock.sh

fresh:
	provisioning/try-fresh.sh $(SUITE)

clean:
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -prune -exec rm -rf {} +

# Asked each time, since a package may be removed behind our back; it takes some milliseconds.
packages:
	@provisioning/packages.sh demo $(PYTHON)

packages-dev:
	@provisioning/packages.sh dev $(PYTHON)

# What the installed commands are made from; our own Python files are found where they stand.
PROJECTS := pyproject.toml hw-sim/pyproject.toml provisioning/pyproject.toml provisioning/venv.sh \
	$(wildcard hatch_build.py agent/diemcau_agent/locale/*/LC_MESSAGES/*.po)

.venv/demo.stamp: requirements/demo.txt $(PROJECTS) | packages
	@provisioning/venv.sh demo $(PYTHON)
	@touch $@

.venv/dev.stamp: requirements/dev.txt requirements/picamera2.txt $(PROJECTS) | packages-dev
	@provisioning/venv.sh dev $(PYTHON)
	@touch .venv/demo.stamp $@
