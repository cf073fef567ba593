#!/usr/bin/env bash
# Sends thousands of generated requests to a daemon of its own, by what its /openapi.json says: each answer must have a
# documented status and look as documented, and none may be a 5xx.
#
#   scripts/schemathesis.sh [ARGUMENT...]     more arguments go to `schemathesis run`
#
# QFZZ_BIN: the program [target/release/qfzz, else target/debug/qfzz].
# Installs schemathesis and what it needs, in the versions of scripts/schemathesis.txt, from PyPI into
# target/schemathesis. Exit 77: that is not possible, for PyPI cannot be reached.
set -euo pipefail
cd "$(dirname "$0")/.."

# The same requests every time; about a minute on two cores.
seed=4 examples=150

target=${CARGO_TARGET_DIR:-target}
program=${QFZZ_BIN:-}
for built in "$target/release/qfzz" "$target/debug/qfzz"; do
    [[ -n $program ]] || [[ ! -x $built ]] || program=$built
done
[[ -n $program ]] || { echo "schemathesis.sh: there is no program: cargo build --release" >&2; exit 1; }
program=$(realpath "$program")
unset QFZZ_BIN

scripts=$PWD/scripts
venv=$(realpath -m "$target/schemathesis")
if ! cmp --silent scripts/schemathesis.txt "$venv/installed.txt"; then
    echo "installing schemathesis from PyPI into $venv"
    rm -rf "$venv"
    if ! python3 -m venv "$venv"; then
        echo "schemathesis.sh: python3 cannot make a virtual environment (Debian: apt-get install python3-venv)" >&2
        exit 77
    fi
    if ! "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --retries 1 --timeout 20 \
        --requirement scripts/schemathesis.txt; then
        echo "schemathesis.sh: PyPI cannot be reached, or lacks what scripts/schemathesis.txt names" >&2
        exit 77
    fi
    cp scripts/schemathesis.txt "$venv/installed.txt"
fi

work=$(mktemp -d)
daemon=
finish() {
    if [[ -n $daemon ]]; then
        kill "$daemon" 2>/dev/null || true
        wait "$daemon" || true
    fi
    rm -rf "$work"
}
trap finish EXIT

export QFZZ_DATA_DIR=$work/data
"$program" init --name generated --new-federation "Generated Radio" --difficulty 1 --yes >"$work/init" 2>&1
"$program" run --listen /ip4/127.0.0.1/tcp/0 --api-listen 127.0.0.1:0 >"$work/stdout" 2>"$work/stderr" &
daemon=$!
for _ in $(seq 300); do
    [[ -s $QFZZ_DATA_DIR/api.addr ]] && break
    kill -0 "$daemon" || { cat "$work/stderr" >&2; exit 1; }
    sleep 0.1
done
# Something to find: a block with records of each kind, and one that is pending.
{
    echo '{"kind":"user_action","user_id":"user_001","action":"rating"}'
    echo '{"kind":"content_added","content_id":"track_001","creator_id":"artist_001","metadata":{"tags":["original"]}}'
    echo '{"kind":"content_verified","content_id":"track_001","creator_id":"artist_001"}'
    echo '{"kind":"content_reported","content_id":"track_001","creator_id":"artist_001"}'
} | "$program" record --from - >"$work/records"
"$program" mine >"$work/mined"
"$program" record user_001 interaction >>"$work/records"

# The stream of events has no end, so it is left to other tests.
export SCHEMATHESIS_HOOKS=$scripts/schemathesis_hooks.py
# It leaves its caches where it runs.
cd "$work"
failed=0
"$venv/bin/schemathesis" --config-file "$scripts/schemathesis.toml" run "http://$(sed 's|^http://||' "$QFZZ_DATA_DIR/api.addr" | tr -d '\n')/openapi.json" \
    --header "Authorization: Bearer $(cat "$QFZZ_DATA_DIR/api.token")" \
    --exclude-path /v1/events \
    --max-examples "$examples" --seed "$seed" --request-timeout 30 --continue-on-failure \
    --suppress-health-check all --no-color "$@" || failed=1
kill -0 "$daemon" || failed=1
if grep --quiet panicked "$work/stderr"; then
    failed=1
fi
[[ $failed -eq 0 ]] || { echo "schemathesis.sh: the daemon said at last:" >&2; tail -n 40 "$work/stderr" >&2; }
exit "$failed"
