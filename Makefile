# SecuraNET Mail. `make demo` and `make test` are all that a newcomer needs; each installs what it lacks.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Artefacts live outside the clone, so that a fresh clone reuses them; set CARGO_TARGET_DIR to put them elsewhere.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/securanet-mail
export CARGO_TARGET_DIR ?= $(CACHE)/target
export CARGO_TERM_COLOR ?= never

# RocksDB takes ten minutes to compile on two cores, and cargo would compile it again for each set of features of
# the crates around it. So it is compiled once, into a library beside the artefacts, and everything links that.
# Without make, plain cargo still works: it then compiles RocksDB itself.
ROCKSDB_VERSION := $(shell sed -n '/name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
export ROCKSDB_LIB_DIR := $(CACHE)/rocksdb-$(ROCKSDB_VERSION)
export ROCKSDB_STATIC := 1
ROCKSDB_LIB := $(ROCKSDB_LIB_DIR)/librocksdb.a

DEMO_DIR ?= $(HOME)/.local/share/securanet-demo

BUILD_PACKAGES := gcc g++ make libclang1-14 libclang-common-14-dev
TEST_PACKAGES := curl swaks libnet-ssleay-perl isync fetchmail mutt strace python3 libpython3.11-testsuite openssl procps \
	util-linux bsdutils iproute2 libfaketime

.PHONY: help demo sites release test bench bench-sending bench-cluster format-check lint docs build build-deps test-deps

help: ## Say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: build ## Build, start the embedded default on loopback and say how to use it
	@$(CARGO_TARGET_DIR)/debug/securanet demo --directory "$(DEMO_DIR)"

build: build-deps $(ROCKSDB_LIB) ## Build the server
	cargo build --locked -p securanet

release: build-deps $(ROCKSDB_LIB) ## Build the server as it is to be installed
	cargo build --locked --release -p securanet
	@echo "Install it: install -m 755 $(CARGO_TARGET_DIR)/release/securanet /usr/bin/"

sites: build ## Start a cluster in three sites on loopback, with links that can be cut and nodes that can be killed
	@cargo run --locked --quiet -p securanet-tests --bin sites

test: build-deps test-deps format-check $(ROCKSDB_LIB) lint docs ## Install what the tests need and run them all, cheapest first
	cargo build --locked --workspace --all-targets
	cargo nextest run --locked --workspace --no-fail-fast $(NEXTEST_ARGS)

format-check:
	cargo fmt --all --check

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

docs:
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --locked --workspace --no-deps --document-private-items

bench: build-deps $(ROCKSDB_LIB) ## Delivery benchmark beside Postfix and Dovecot; prints a table (takes some minutes)
	tests/bench/delivery.sh

bench-sending: build-deps $(ROCKSDB_LIB) ## Sending benchmark beside Postfix, with dead destinations; prints a table (wants root, takes some minutes)
	tests/bench/sending.sh

bench-cluster: build-deps $(ROCKSDB_LIB) ## Figures of a cluster of three sites; prints a table (takes about an hour; the script's --help names parts)
	tests/bench/cluster.sh

$(ROCKSDB_LIB): | build-deps
	env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC cargo build --locked -p rocksdb --target-dir "$(CACHE)/rocksdb-build"
	@mkdir -p "$(@D)"
	cp "$$(ls -t "$(CACHE)"/rocksdb-build/debug/build/librocksdb-sys-*/out/librocksdb.a | head -1)" "$@.new"
	mv "$@.new" "$@"
	rm -rf "$(CACHE)/rocksdb-build"

build-deps:
	@.ci/need $(BUILD_PACKAGES)

test-deps: build-deps
	@.ci/need $(TEST_PACKAGES)
	@cargo nextest --version >/dev/null 2>&1 || cargo install --locked cargo-nextest
