# Every command works on a fresh Debian machine with git, curl, make, gcc and cargo (Rust 1.90 or later): what else is needed is
# installed first. Only check-deploy asks for promtool and systemd-analyze instead.

TOOLS := target/tools
BUILT := $(or $(CARGO_TARGET_DIR),target)
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2

.PHONY: help quickstart test test-matrix test-pgbouncer faults check check-deploy fuzz bench bench-rejects bench-http2 bench-oltp build docs fmt

help:
	@echo "make quickstart   build, start on an embedded PostgreSQL, load a sample file, keep serving (ONCE=1: stop after the load)"
	@echo "make test         all tests, against clusters of their own"
	@echo "make test-matrix  loads against COPY, value for value, on PostgreSQL 14, 16, 17 and 18 too (SERVERS=\"16 18\": only these)"
	@echo "make test-pgbouncer  500 loads and 20,000 status queries through PgBouncer"
	@echo "make faults       loads with a fault at a random instant, and what must be true after each (TRIALS=1000 SEED=42 FAULT=name)"
	@echo "make check        format, lints, docs, licences"
	@echo "make check-deploy the unit and the alert rules in deploy/, by systemd and promtool"
	@echo "make fuzz         every parser and encoder, 10 minutes each (SECONDS=60: less, TARGET=csv: only this one)"
	@echo "make docs         the tables in docs/ARROW.md and docs/CONFIGURATION.md, from the code"
	@echo "make bench        side by side with psql, psycopg, asyncpg, ADBC; writes docs/BENCHMARKS.md"
	@echo "make bench-rejects  what bad rows cost; writes docs/BENCHMARKS-REJECTS.md"
	@echo "make bench-http2  nine uploads on one HTTP/2 connection, beside a stalled one and without it"
	@echo "make bench-oltp   GET /v1/jobs/{id} beside asyncpg and psycopg, idle and while loads run; writes docs/BENCHMARKS-OLTP.md"

quickstart:
	@scripts/quickstart.sh

build:
	cargo build --release --locked

test: target/test-venv/.ready
	@scripts/install.sh server postgis pgbouncer curl openssl
	cargo test --locked --lib --bins --test it -- --skip copy_equivalence
	# By itself: it keeps both sides busy with tens of thousands of small loads.
	cargo test --locked --test it copy_equivalence
	# Two trials of every fault.
	cargo test --locked --test faults
	@scripts/wait-for-clusters.sh

# In `make test` there are fewer.
test-pgbouncer:
	@scripts/install.sh server pgbouncer
	PGSLUICE_TEST_LOADS=500 PGSLUICE_TEST_QUERIES=20000 cargo test --locked --test it pgbouncer
	@scripts/wait-for-clusters.sh

SERVERS ?= 14 16 17 18

test-matrix:
	@scripts/test-matrix.sh $(SERVERS)

TRIALS ?= 1000
SEED ?= 42

faults:
	@scripts/install.sh server
	cargo test --locked --test faults -- --trials $(TRIALS) --seed $(SEED) $(if $(FAULT),--fault $(FAULT)) $(if $(REPORT),--report $(REPORT))
	@scripts/wait-for-clusters.sh

check: $(TOOLS)/bin/cargo-deny
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	$(TOOLS)/bin/cargo-deny --locked check bans licenses sources

SECONDS ?= 600

fuzz: $(TOOLS)/bin/cargo-fuzz
	@scripts/install.sh c++
	PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" scripts/fuzz.sh $(SECONDS) $(TARGET)

bench: target/bench-venv/.ready
	@scripts/install.sh server curl
	cargo build --release --locked --bin pgsluice --example bench_data
	target/bench-venv/bin/python bench/compare.py --bin $(BUILT)/release/pgsluice --data-bin $(BUILT)/release/examples/bench_data $(BENCH)

bench-rejects: target/bench-venv/.ready
	@scripts/install.sh server curl
	cargo build --release --locked --bin pgsluice --example bench_data
	target/bench-venv/bin/python bench/rejects.py --bin $(BUILT)/release/pgsluice --data-bin $(BUILT)/release/examples/bench_data $(BENCH)

bench-http2:
	@scripts/install.sh server
	PGSLUICE_TEST_ROUNDS=9 cargo test --release --locked --test it nine_uploads_beside_a_stalled_one_and_without_it -- --nocapture
	@scripts/wait-for-clusters.sh

bench-oltp: target/bench-venv/.ready
	@scripts/install.sh server pgbouncer wrk curl
	cargo build --release --locked --bin pgsluice --example bench_data
	target/bench-venv/bin/python bench/oltp.py --bin $(BUILT)/release/pgsluice --data-bin $(BUILT)/release/examples/bench_data $(BENCH)

# What docs/ARROW.md and docs/CONFIGURATION.md say is asked of the code; tests hold the pages to it.
docs:
	PGSLUICE_WRITE_DOCS=1 cargo test --locked --lib --bins the_page_says_what_the_code_does

# With promtool (Debian: prometheus) and systemd-analyze, which tests do without. The unit's program need not be installed for it.
check-deploy:
	promtool check rules deploy/prometheus-alerts.yml
	mkdir -p target/check-deploy
	sed 's|^ExecStart=/usr/local/bin/pgsluice|ExecStart=/bin/true|' deploy/pgsluice.service >target/check-deploy/pgsluice.service
	systemd-analyze verify target/check-deploy/pgsluice.service

fmt:
	cargo fmt

$(TOOLS)/bin/cargo-deny:
	cargo install cargo-deny --version $(DENY_VERSION) --locked --root $(TOOLS)

$(TOOLS)/bin/cargo-fuzz:
	cargo install cargo-fuzz --version $(FUZZ_VERSION) --locked --root $(TOOLS)

target/test-venv/.ready: tests/requirements.txt
	@scripts/install.sh python
	python3 -m venv target/test-venv
	target/test-venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

target/bench-venv/.ready: bench/requirements.txt
	@scripts/install.sh python
	python3 -m venv target/bench-venv
	target/bench-venv/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	@touch $@
