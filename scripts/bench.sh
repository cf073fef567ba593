#!/usr/bin/env bash
# Measures the whole node beside the machine's own limits, and prints one JSON value (docs/benchmark.md explains it).
#
#   scripts/bench.sh [--quick] [--check] [--only NAME...] [--out FILE]
#
# --quick: small numbers, under a minute; --check: exit 1 and name each promise that is missed; --only: these cases,
# of proof_of_work check_full check_single signatures catch_up visible ingest ingest_delayed large trust.
# Builds the release first. Needs strace (for the delayed syncs) and chrt, and some 2 GiB in TMPDIR.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")

needs() {
    if ! command -v "$1" >/dev/null; then
        echo "bench.sh: $1 is missing: apt-get install $2" >&2
        exit 2
    fi
}
needs strace strace
needs chrt util-linux
(
    cd "$root"
    cargo build --release --locked --quiet --package qfzz-node --bin qfzz --package qfzz-bench --bin qfzz-bench
) >&2

# Before all else that runs on the machine, where that is allowed (as root): what others do then disturbs little.
first=()
if chrt --rr 1 true 2>/dev/null; then
    first=(chrt --rr 1)
else
    echo "bench.sh: no right to run before other programs: their load may disturb this" >&2
fi
exec "${first[@]}" env QFZZ_BIN="${QFZZ_BIN:-$target/release/qfzz}" "$target/release/qfzz-bench" "$@"
