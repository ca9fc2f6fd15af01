#!/usr/bin/env bash
# Builds what is measured, optimised as a release would be, and measures it beside Postfix and Dovecot; arguments go to
# delivery.py (--help says which). Run it on a quiet machine with two cores, as root (Postfix and Dovecot change users).
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
measured=$(mktemp -d)
trap 'rm -rf "$measured"' EXIT
# Our own crates at the level that dependencies always have. The binary is copied, so that a build for tests, which has the
# same place, cannot replace it meanwhile.
CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo build --locked -p securanet
cp "$target/debug/securanet" "$measured/"
cargo build --locked -p securanet-tests --bin load
tests/rivals/unpack >/dev/null
python3 tests/bench/delivery.py --securanet "$measured/securanet" --load "$target/debug/load" "$@"
