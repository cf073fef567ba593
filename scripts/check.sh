#!/usr/bin/env bash
# Everything that CI checks, in the order in which it fails soonest. Stops at the first failure and names the step.
#
#   scripts/check.sh               all steps
#   scripts/check.sh --list        their names
#   scripts/check.sh NAME...       only these
#
# QFZZ_RATINGS: path of the ratings for scripts/real-ratings.sh; without it that step is left out, and says so. The step
# `bench_trust_quick` takes them, too.
# The step `quantum` runs Q# by the real package, and fails where that cannot be installed from PyPI.
# cargo-nextest and cargo-deny are used where they are installed; schemathesis is installed from PyPI where that can be
# reached.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
# No __pycache__ beside the scripts.
export PYTHONDONTWRITEBYTECODE=1

# What points the commands at a user's own daemon stays out of the tests.
unset "${!QFZZ_API@}" "${!QFZZ_DATA_DIR@}"

needs() {
    local tool=$1 remedy=$2
    if ! command -v "${tool%% *}" >/dev/null || ! $tool --version >/dev/null 2>&1; then
        echo "check.sh: $tool is missing: $remedy" >&2
        return 1
    fi
}

step_tools() {
    needs cargo "install Rust from https://rustup.rs" &&
        needs "cargo fmt" "rustup component add rustfmt" &&
        needs "cargo clippy" "rustup component add clippy" &&
        needs python3 "install Python 3.11 or newer" &&
        needs cc "install a C compiler (Debian: apt-get install build-essential)" &&
        needs make "install make (Debian: apt-get install build-essential)" &&
        strace_for_the_tests
}

# The tests of failing disks put errors in the place of system calls.
strace_for_the_tests() {
    if ! command -v strace >/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
        echo "installing strace: apt-get install strace"
        apt-get install --yes --quiet strace
    fi
    needs strace "apt-get install strace"
}

step_format() { cargo fmt --all -- --check; }

step_fence() { scripts/fence.sh; }

# Alone, because in a workspace build the features that another crate turns on leak in.
step_ledger_core_alone() { cargo check --locked --package qfzz-ledger-core; }
step_sync_alone() { cargo check --locked --package qfzz-sync; }

step_clippy() { cargo clippy --locked --workspace --all-targets -- --deny warnings; }

step_scripts() {
    local script
    for script in scripts/*.sh scripts/peer-adapter .ci/run; do bash -n "$script" || return; done
    python3 -m unittest discover --start-directory scripts
}

# The tests of real processes take the program that is released, instead of building one more.
step_tests() {
    local QFZZ_BIN
    QFZZ_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/qfzz
    export QFZZ_BIN
    step_release || return
    if cargo nextest --version >/dev/null 2>&1; then
        # What runs Q# is a step of its own.
        cargo nextest run --locked --workspace --profile ci --filterset 'not (package(qfzz-tests) & binary(quantum))'
    else
        cargo test --locked --workspace --lib --bins --tests -- --show-output
    fi
}

# Q# by the real package, which `qfzz quantum setup` installs afresh where the tests look for it.
step_quantum() {
    local QFZZ_BIN target
    target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
    QFZZ_BIN=$target/release/qfzz
    export QFZZ_BIN
    step_release || return
    if ! "$QFZZ_BIN" --data-dir "$target/tmp/quantum-setup/data" quantum setup; then
        echo "check.sh: Microsoft's QDK cannot be installed: needs Python 3.10 or newer with venv, and a way to https://pypi.org" >&2
        return 1
    fi
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked --package qfzz-tests --test quantum --profile ci
    else
        cargo test --locked --package qfzz-tests --test quantum -- --test-threads 1 --show-output
    fi
}

step_doc_tests() { cargo test --locked --workspace --doc; }

step_docs() { RUSTDOCFLAGS="--deny warnings" cargo doc --locked --no-deps --workspace; }

# Advisories are left out: their database is fetched from the network.
step_deny() {
    if cargo deny --version >/dev/null 2>&1; then
        cargo deny --locked check bans licenses sources
    else
        skip "cargo-deny is not installed (cargo install --locked cargo-deny)"
    fi
}

step_release() { cargo build --release --locked; }

step_demo() { cargo run --release -- demo; }

# Whether all of the benchmark works: its figures count for nothing here, but what a sync moves is the same anywhere.
step_bench_quick() {
    if command -v strace >/dev/null; then
        scripts/bench.sh --quick | python3 -c '
import json, sys
run = json.load(sys.stdin)
cases = {"machine", "proof_of_work", "check_full", "check_single", "check_from_disk", "catch_up", "visible_2",
         "visible_8", "ingest", "ingest_delayed", "query", "opening", "sync"}
assert cases <= set(run["figures"]), cases - set(run["figures"])
kept = {promise["name"]: promise["kept"] for promise in run["promises"]}
assert kept["sync_nothing"] and kept["sync_few"] and kept["proof_of_work"], kept
print("benchmark: %d figures, %d promises" % (len(run["figures"]), len(run["promises"])))'
    else
        skip "strace is not installed"
    fi
}

# Every score on real ledgers is the reference's, and `anchored` withstands what it promises; with ratings, on these, too.
step_bench_trust_quick() { scripts/bench-trust.sh --quick ${QFZZ_RATINGS:+--otc "$QFZZ_RATINGS"}; }

step_readme() { python3 scripts/readme.py; }

step_real_ratings() {
    if [[ -n ${QFZZ_RATINGS:-} ]]; then
        scripts/real-ratings.sh "$QFZZ_RATINGS"
    else
        skip "QFZZ_RATINGS names no file of ratings"
    fi
}

step_schemathesis() {
    local outcome=0
    QFZZ_BIN=$(realpath -m "${CARGO_TARGET_DIR:-target}")/release/qfzz scripts/schemathesis.sh || outcome=$?
    case $outcome in
        0) ;;
        77) skip "schemathesis cannot be installed: see above" ;;
        *) return 1 ;;
    esac
}

steps=(
    tools format fence ledger_core_alone sync_alone clippy scripts deny docs release tests quantum doc_tests demo bench_quick
    bench_trust_quick readme schemathesis real_ratings
)

skipped=()
skip() {
    echo "left out: $1"
    skipped+=("$current")
}

if [[ ${1:-} == --list ]]; then
    printf '%s\n' "${steps[@]}"
    exit 0
fi
for name in "$@"; do
    if ! declare -F "step_$name" >/dev/null; then
        echo "check.sh: no step is called $name; --list shows them" >&2
        exit 2
    fi
done
[[ $# -eq 0 ]] || steps=("$@")

started=$SECONDS
for current in "${steps[@]}"; do
    printf '\n==> %s\n' "$current"
    step_started=$SECONDS
    if ! "step_$current"; then
        printf '\ncheck.sh: FAILED at %s, after %s s\n' "$current" $((SECONDS - started)) >&2
        exit 1
    fi
    printf '<== %s: %s s\n' "$current" $((SECONDS - step_started))
done
printf '\ncheck.sh: %s steps passed in %s s' "$((${#steps[@]} - ${#skipped[@]}))" $((SECONDS - started))
[[ ${#skipped[@]} -eq 0 ]] || printf ', left out: %s' "${skipped[*]}"
echo
# In the words of test runners, for whoever reads only the last line.
printf 'steps: %s passed, 0 failed\n' "$((${#steps[@]} - ${#skipped[@]}))"
