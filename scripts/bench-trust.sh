#!/usr/bin/env bash
# Measures how well global trust withstands liars, on real ledgers beside the reference (docs/benchmark.md explains it).
#
#   scripts/bench-trust.sh [--seeds N,N...] [--quick] [--otc FILE [--labels FILE]]
#
# --seeds: what the worlds are made of, 1,2,3 by default; --quick: one seed; --otc: also the ratings of SNAP's
# soc-sign-bitcoin-otc, and --labels who of these people is fair (1) or fraudulent (-1). They carry no licence, so they are
# not in this repository: https://snap.stanford.edu/data/soc-sign-bitcoin-otc.html
# Exit 1 where the reference makes something else of the same history, or the promise on eight attacks is missed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
(cd "$root" && cargo build --release --locked --quiet --package qfzz-sync --example bench_trust) >&2
exec "$target/release/examples/bench_trust" "$@"
