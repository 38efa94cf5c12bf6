# Three commands that install everything they need on a fresh Debian 12 machine:
#
#   make demo    a caller presses 1 and is called back, on a real Asterisk
#   make console the web console of a busy call centre, to look at in a browser
#   make test    all tests, on real Asterisk 22 and 16, real databases and a browser
#
# The first run takes a few minutes: it installs Asterisk, PostgreSQL, MariaDB, PHP and
# Chromium into ~/.cache, not on the system. Later runs use that installation.

# The Python of .venv; without a name, tools/make-venv.sh chooses.
PYTHON ?=
BIN := .venv/bin
# A test run without the plugin that only tests/web uses, whose import takes a second.
PYTEST := $(BIN)/python -m pytest -p no:schemathesis
# Keep byte code, also on machines of CI that switch it off: else each of hundreds of
# processes compiles the program, and each process of pytest all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-cluster test lint style types fast-test simulate expected-wait fuzz soak
.PHONY: soak-cluster memory bench bench-web bench-pages bench-door busy-queue waiting-line
.PHONY: console screenshots browser-test
.PHONY: unit-test simulation-test call-test crowd-test asterisk-test live-test
.PHONY: stopwatch-test package-test docs reference deb freepbx freepbx-test lab sounds clean image release

demo: .venv/ready
	@$(BIN)/python -m tests.lab.install 22
	@$(BIN)/python -m tests.lab.demo

# Two Asterisks, two services, one PostgreSQL: a service is killed in a callback.
demo-cluster: .venv/ready
	@$(BIN)/python -m tests.lab.install 22 databases
	@$(BIN)/python -m tests.lab.demo_cluster

# A busy call centre in the console, until Ctrl-C:   make console PORT=8573
console: .venv/ready
	@$(BIN)/python -m tests.lab.install 22
	@$(BIN)/python -m tests.lab.console $(if $(PORT),--port $(PORT))

# The documentation as a web site, in build/site; a warning is an error.
docs: .venv/ready
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs -d build/doctrees . build/site
	@echo "The site is in build/site; begin with build/site/index.html"

# Write the reference pages of docs/ anew, from the program.
reference: .venv/ready
	$(BIN)/python tools/reference.py

# Take the pictures of docs/images again.
screenshots: .venv/ready
	@$(BIN)/python -m tests.lab.install 22 browser
	@$(BIN)/python -m tests.lab.screenshots

# Asterisk, the databases and the browser are installed while the tests without them run.
# Calls and browsers mostly wait: packages and the simulation have the rest of the
# processors meanwhile, at lower priorities. Nothing runs beside the last tests.
test: .venv/ready
	@$(MAKE) --no-print-directory style
	@$(MAKE) --no-print-directory -j 4 types docs unit-test lab
	@$(MAKE) --no-print-directory -j 3 live-test package-test simulation-test
	@$(MAKE) --no-print-directory stopwatch-test

lint: style types

style: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/mypy

# All tests without Asterisk and browser.
fast-test:
	@$(MAKE) --no-print-directory unit-test
	@$(MAKE) --no-print-directory simulation-test

# Unit tests, the store on each database, the web process, the whole service in memory.
# Three at a time, as those with processes and servers mostly wait.
unit-test: .venv/loaded
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not stopwatch" tests \
		--ignore tests/asterisk --ignore tests/browser --ignore tests/simulation \
		--ignore tests/packaging --ignore tests/freepbx

# Random runs of the simulation, and planted faults that it must find.
simulation-test: .venv/ready
	tools/at-priority.sh 19 $(PYTEST) -q -n 2 --dist worksteal \
		tests/simulation

# Random runs of the simulation, or one run with all its events:
#   make simulate SEEDS=20000 FIRST=1000      make simulate SEED=4711
# Or whether planted faults are found:   make simulate FAULTS=1
SEEDS ?= 20000
FIRST ?= 0
simulate: .venv/ready
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST) \
		$(if $(SEED),--seed $(SEED)) $(if $(FAULTS),--faults)

# How far expected waits are from the real ones, in days of call centres:
#   make expected-wait DAYS=5
DAYS ?= 20
expected-wait: .venv/ready
	@$(BIN)/python -m tests.simulation.day --seeds $(DAYS)

# Half an hour of random calls and faults on a real Asterisk, compared with the database:
#   make soak MINUTES=120      make soak SEED=4711      make soak CALLS=90
soak: .venv/ready
	@$(BIN)/python -m tests.lab.install 22
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) --calls $(or $(CALLS),60) \
		$(if $(SEED),--seed $(SEED))

# The same with two services on one PostgreSQL, each beside an Asterisk; one of them at a
# time is killed, frozen or stopped:
#   make soak-cluster MINUTES=30      make soak-cluster SEED=4711 CALLS=20
soak-cluster: .venv/ready
	@$(BIN)/python -m tests.lab.install 22 databases
	@$(BIN)/python -m tests.soak --two-services --minutes $(or $(MINUTES),30) \
		--calls $(or $(CALLS),30) $(if $(SEED),--seed $(SEED))

# A queue that never empties, on a real Asterisk, once with each `fairness`: prints who
# joined and who talked when, and fails if the order is not the promised one:
#   make busy-queue MINUTES=3      make busy-queue FAIRNESS=place ASTERISK=16
ASTERISK ?= 22
busy-queue: .venv/ready
	@$(BIN)/python -m tests.lab.install $(ASTERISK)
	@$(BIN)/python -m tests.lab.busy_queue --minutes $(or $(MINUTES),10) \
		--asterisk $(ASTERISK) $(if $(FAIRNESS),--fairness $(FAIRNESS)) \
		$(if $(SEED),--seed $(SEED))

# What clients who wait in line cost, on a real Asterisk:
#   make waiting-line      make waiting-line CLIENTS=20 ASTERISK=16
waiting-line: .venv/ready
	@$(BIN)/python -m tests.lab.install $(ASTERISK)
	@$(BIN)/python -m tests.lab.waiting_line --asterisk $(ASTERISK) \
		$(if $(CLIENTS),--clients $(CLIENTS))

# Fuzz every parser of input from outside, all at the same time; output and findings are
# in .fuzz:
#   make fuzz SECONDS=600      make fuzz TARGETS="ami settings"
SECONDS = 60
TARGETS =
fuzz: .venv/ready
	@mkdir -p .fuzz
	@$(BIN)/python -m tests.fuzz $(TARGETS) --into .fuzz \
		-max_total_time=$(SECONDS) -timeout=60

# Memory of the service after up to 100,000 requests.
memory: .venv/ready
	@$(BIN)/python -m tests.bench.memory

# Speed and processor time of the service; all measurements, or some by name:
#   make bench      make bench BENCH="requests free"
# Several services on one PostgreSQL, only by its name; fails if a goal is missed:
#   make bench BENCH=cluster      make bench BENCH=cluster KILLS=100
bench: .venv/ready
	@$(BIN)/python -m tests.bench $(BENCH) $(if $(KILLS),--kills $(KILLS))

# How fast requests are promised, beside servers written with panoramisk and pystrix, which
# are installed for it into build/; on a machine without other work:
#   make bench-door      make bench-door SYNC_MS=2      make bench-door BURST=1 SYNC_MS=2
ROUNDS ?= 3
bench-door: .venv/ready
	@$(BIN)/python -m tests.bench.door --rounds $(ROUNDS) \
		$(if $(SYNC_MS),--sync-ms $(SYNC_MS)) $(if $(BURST),--burst)

# Whether 50 browsers and 20 programs at the web process slow down 50 callers who press 1
# at once; on a machine without other work:
#   make bench-web TURNS=5
TURNS ?= 3
bench-web: .venv/ready
	@$(BIN)/python -m tests.bench.web --turns $(TURNS)

# How long each page of the console and each list and report of the API takes with a
# million ended tasks; on a machine without other work.
bench-pages: .venv/ready
	@$(BIN)/python -m tests.lab.install databases
	@$(BIN)/python -m tests.bench.pages

# Browser and calls, which wait for what is due in seconds.
live-test:
	@$(MAKE) --no-print-directory browser-test
	@$(MAKE) --no-print-directory asterisk-test

# Tests on real Asterisk.
asterisk-test:
	@$(MAKE) --no-print-directory call-test
	@$(MAKE) --no-print-directory crowd-test

# Those that mostly wait for calls, three of each version at the same time.
call-test: lab
	$(PYTEST) -n 6 --dist loadgroup -m "not crowd and not stopwatch" \
		tests/asterisk tests/freepbx

# Those that keep the machine busy, three at a time.
crowd-test: lab
	$(PYTEST) -n 3 --dist loadgroup -m "crowd and not stopwatch" \
		tests/asterisk

# Packages, the image and releases: built, installed, upgraded and removed.
# The tests install what these machines need.
package-test: lab
	tools/at-priority.sh 3 $(PYTEST) -n 2 --dist loadfile tests/packaging

# The console in Chromium, on a real service and a real Asterisk 22.
browser-test: lab
	$(PYTEST) tests/browser

# Tests in which milliseconds count, one at a time.
stopwatch-test: lab
	$(BIN)/python -m pytest -m stopwatch tests/process tests/store tests/web \
		tests/asterisk

# The module for FreePBX 17, as Module Admin takes it: dist/callbackqueue-VERSION.tgz
freepbx: .venv/ready
	@$(BIN)/python tools/freepbx.py

# The module in PHP between models of FreePBX's modules, and what it writes on real
# Asterisk.
freepbx-test: .venv/ready
	@$(BIN)/python -m tests.lab.install 22 16 php
	$(PYTEST) tests/freepbx

# The Debian packages, into dist/; or that of one release:   make deb RELEASE=13
deb: .venv/ready
	@$(BIN)/python -m tools.deb $(RELEASE)

lab: .venv/ready
	@$(BIN)/python -m tests.lab.install 22 16 databases browser php \
		debian12 debian13 debian14

# Rebuild the prompts after a change in sounds/texts; needs the speech engines.
sounds: .venv/ready
	$(BIN)/python sounds/build.py

# The container image, as a file in dist/ (docs/container.md).
image: .venv/ready
	@$(BIN)/python packaging/image/build.py

# Wheel, sources, bill of materials and SHA256SUMS of the last commit, in dist/, together
# with what WITH names (docs/releases.md):   make release WITH="deb freepbx image"
release: .venv/ready $(WITH)
	@$(BIN)/python packaging/release/make.py

.venv/ready: setup.cfg constraints.txt tools/make-venv.sh
	@PYTHON='$(PYTHON)' tools/make-venv.sh

# The byte code of all tests, and of what they load: else each of several processes would
# compile all of it at the same time.
.venv/loaded: .venv/ready
	@$(BIN)/python -m pytest -qq --collect-only tests >$@.log || { cat $@.log; false; }
	@touch $@

clean:
	rm -rf .venv .fuzz build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
