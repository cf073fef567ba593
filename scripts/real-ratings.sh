#!/usr/bin/env bash
# Feeds real ratings to five daemons and compares every score of all five with a computation from the file alone.
#
#   scripts/real-ratings.sh PATH [--any-file]
#
# PATH: the 35,592 ratings of SNAP's soc-sign-bitcoin-otc (gzip or plain; source,target,rating,time). They carry no
# licence, so they are not in this repository: https://snap.stanford.edu/data/soc-sign-bitcoin-otc.html
# Prints what was compared and a digest over all answers, which is the same in every run; a file that gives another
# digest fails, unless --any-file is given. QFZZ_BIN names a program built elsewhere.
set -euo pipefail

if [[ $# -lt 1 || $# -gt 2 || ( $# -eq 2 && $2 != --any-file ) || ! -r $1 ]]; then
    echo "usage: $0 PATH [--any-file]   (PATH: a readable file of ratings)" >&2
    exit 2
fi
ratings=$(realpath "$1")
cd "$(dirname "$0")/.."

if [[ -z ${QFZZ_BIN:-} ]]; then
    cargo build --release --locked --quiet --package qfzz-node --bin qfzz
    QFZZ_BIN=${CARGO_TARGET_DIR:-target}/release/qfzz
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/qfzz-ratings.XXXXXX")
child=
finish() {
    # The child stops its daemons when told to; wait for that before their directories go.
    if [[ -n $child ]]; then
        kill "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python3 scripts/ratings_expected.py records "$ratings" "$work"
python3 scripts/ratings_daemons.py "$QFZZ_BIN" "$work" &
child=$!
wait "$child"
child=
python3 scripts/ratings_expected.py compare "$ratings" "$work/answers.txt" "${@:2}"
