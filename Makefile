# Every command works on a fresh Debian machine with git, curl, make, gcc and cargo (Rust 1.90 or later): what else is needed is
# installed first.

TOOLS := target/tools
BUILT := $(or $(CARGO_TARGET_DIR),target)
DENY_VERSION := 0.20.2
FUZZ_VERSION := 0.13.2

.PHONY: help quickstart test test-matrix check fuzz bench build docs fmt

help:
	@echo "make quickstart   build, start on an embedded PostgreSQL, load a sample file, keep serving (ONCE=1: stop after the load)"
	@echo "make test         all tests, against clusters of their own"
	@echo "make test-matrix  loads against COPY, value for value, on PostgreSQL 14, 16, 17 and 18 too (SERVERS=\"16 18\": only these)"
	@echo "make check        format, lints, docs, licences"
	@echo "make fuzz         every parser and encoder, 10 minutes each (SECONDS=60: less, TARGET=csv: only this one)"
	@echo "make docs         the table in docs/ARROW.md, from the code"
	@echo "make bench        side by side with psql, psycopg, asyncpg, ADBC; writes docs/BENCHMARKS.md"

quickstart:
	@scripts/quickstart.sh

build:
	cargo build --release --locked

test: target/test-venv/.ready
	@scripts/install.sh server postgis curl
	cargo test --locked --lib --test it -- --skip copy_equivalence
	# By itself: it keeps both sides busy with tens of thousands of small loads.
	cargo test --locked --test it copy_equivalence
	@scripts/wait-for-clusters.sh

SERVERS ?= 14 16 17 18

test-matrix:
	@scripts/test-matrix.sh $(SERVERS)

check: $(TOOLS)/bin/cargo-deny
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
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

# What docs/ARROW.md says is asked of the code; a test holds the page to it.
docs:
	PGSLUICE_WRITE_DOCS=1 cargo test --locked --lib the_page_says_what_the_code_does

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
