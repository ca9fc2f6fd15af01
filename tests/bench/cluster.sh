#!/usr/bin/env bash
# Builds what is measured, as it is installed, and prints the figures of a cluster of three sites as a table;
# arguments go to the program that measures (--help says which). Run it on a quiet machine with two cores.
set -euo pipefail
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-target}"
words=$(mktemp -d)
trap 'rm -rf "$words"' EXIT
cargo build --locked --release -p securanet
cargo build --locked -p securanet-tests --bin figures
python3 -c "
import sys
sys.path.insert(0, 'tests/bench')
import text
text.prepare('$words/text', 8 << 20)"
SECURANET_BINARY="$target/release/securanet" "$target/debug/figures" --text "$words/text" "$@"
