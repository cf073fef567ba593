#!/usr/bin/env bash
# Measures the whole node beside the machine's own limits, and prints one JSON value (docs/benchmark.md explains it).
#
#   scripts/bench.sh [--quick] [--check] [--only NAME...] [--out FILE]
#
# --quick: small numbers, under a minute; --check: exit 1 and name each promise that is missed; --only: these cases,
# of proof_of_work check_full check_single catch_up visible ingest ingest_delayed large.
# Builds the release first. Needs strace (for the delayed syncs), and some 2 GiB in TMPDIR.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")

if ! command -v strace >/dev/null; then
    echo "bench.sh: strace is missing: apt-get install strace" >&2
    exit 2
fi
(
    cd "$root"
    cargo build --release --locked --quiet --package qfzz-node --bin qfzz --package qfzz-bench --bin qfzz-bench
) >&2

# In a session of its own, which the system gives the processors before others where it may: what else runs on the
# machine then disturbs little. Without the right to do so it is measured as it comes.
exec setsid --wait bash -c '
    { echo -20 >/proc/self/autogroup; } 2>/dev/null || echo "bench.sh: other load may disturb this" >&2
    exec "$@"' bench.sh env QFZZ_BIN="${QFZZ_BIN:-$target/release/qfzz}" "$target/release/qfzz-bench" "$@"
