#!/usr/bin/env bash
# Builds what is measured, optimised as a release would be, and prints the figures of a cluster of three sites as a table;
# arguments go to the program that measures (--help says which). Run it on a quiet machine with two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
measured=$(mktemp -d)
trap 'rm -rf "$measured"' EXIT
CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo build --locked -p securanet
cp "$target/debug/securanet" "$measured/"
cargo build --locked -p securanet-tests --bin figures
python3 -c "
import sys
sys.path.insert(0, 'tests/bench')
import text
text.prepare('$measured/text', 8 << 20)"
SECURANET_BINARY="$measured/securanet" "$target/debug/figures" --text "$measured/text" "$@"
