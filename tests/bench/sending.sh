#!/usr/bin/env bash
# Builds what is measured, as it is installed, and measures its sending beside Postfix; arguments go to sending.py
# (--help says which). Run it on a quiet machine with two cores, as root: it makes a network namespace with a world of
# destinations, so nothing leaves the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
cargo build --locked --release -p securanet
cargo build --locked -p securanet-tests --bin load
tests/rivals/unpack >/dev/null
tests/rivals/unpack knot >/dev/null
unshare --net --mount --pid --fork --kill-child --mount-proc -- \
    python3 tests/bench/sending.py --securanet "$target/release/securanet" --load "$target/debug/load" "$@"
