#!/usr/bin/env bash
# Builds what is measured, as it is installed, and measures it beside Postfix and Dovecot; arguments go to
# delivery.py (--help says which). Run it on a quiet machine with two cores, as root (Postfix and Dovecot change users).
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
cargo build --locked --release -p securanet
cargo build --locked -p securanet-tests --bin load
tests/rivals/unpack >/dev/null
python3 tests/bench/delivery.py --securanet "$target/release/securanet" --load "$target/debug/load" "$@"
