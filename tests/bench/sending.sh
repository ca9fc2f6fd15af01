#!/usr/bin/env bash
# Builds what is measured, optimised as a release would be, and measures its sending beside Postfix; arguments go to sending.py
# (--help says which). Run it on a quiet machine with two cores, as root: it makes a network namespace with a world of
# destinations, so nothing leaves the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
measured=$(mktemp -d)
trap 'rm -rf "$measured"' EXIT
CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo build --locked -p securanet
cp "$target/debug/securanet" "$measured/"
cargo build --locked -p securanet-tests --bin load
tests/rivals/unpack >/dev/null
tests/rivals/unpack knot >/dev/null
unshare --net --mount --pid --fork --kill-child --mount-proc -- \
    python3 tests/bench/sending.py --securanet "$measured/securanet" --load "$target/debug/load" "$@"
