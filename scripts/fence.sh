#!/usr/bin/env bash
# The fence between the parts (CONTRIBUTING.md has the table): what each crate may depend on, and what each folder of
# the node may name. Prints every breach; exit 1 if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
breaches=0

breach() {
    echo "fence: $1" >&2
    breaches=$((breaches + 1))
}

# forbid_crates CRATE NAME...: none of the names stands among CRATE's normal dependencies, direct or not.
forbid_crates() {
    local crate=$1 tree name
    shift
    tree=$(cargo tree --locked --package "$crate" --edges normal --prefix none --format '{p}')
    for name in "$@"; do
        if grep --quiet --extended-regexp "^${name}(-[a-z0-9-]+)? v" <<<"$tree"; then
            breach "$crate depends on $name: cargo tree -p $crate -e normal -i $name"
        fi
    done
}

# code FILE: the file without line comments, and without what is compiled for tests only.
code() {
    awk '
        /^[[:space:]]*#\[cfg\((all\()?(test|any\(test)/ { skipping = 1; depth = 0; next }
        {
            line = $0
            if (line ~ /^[[:space:]]*\/\//) next
            sub(/[[:space:]]\/\/.*$/, "", line)
            if (skipping) {
                depth += gsub(/\{/, "{", line) - gsub(/\}/, "}", line)
                if (depth <= 0 && line ~ /[;}][[:space:]]*$/) skipping = 0
                next
            }
            printf "%d:%s\n", NR, line
        }' "$1"
}

# forbid_words FOLDER_OR_FILE REGEX WHY: no such word in the code there, tests aside.
forbid_words() {
    local file hits
    [[ -e $1 ]] || return 0
    while IFS= read -r file; do
        hits=$(code "$file" | grep --extended-regexp "$2" || true)
        [[ -z $hits ]] || breach "$file: $3"$'\n'"$hits"
    done < <(find "$1" -name '*.rs' -not -path '*/tests/*' -not -name 'tests.rs' | sort)
}

forbid_crates qfzz-ledger-core tokio libp2p sled clap tracing
forbid_crates qfzz-sync tokio libp2p sled clap
if cargo tree --locked --package qfzz-ledger-core --edges normal,features --invert chrono | grep --quiet 'chrono feature "clock"'; then
    breach "qfzz-ledger-core turns on chrono's clock"
fi

word() { printf '(^|[^[:alnum:]_])(%s)($|[^[:alnum:]_])' "$1"; }
# A clock behind a port (`view.now()`) is an argument, too.
clocks='std::time|Instant|SystemTime|Utc::now|now\(\)'
core=crates/ledger-core/src
node=crates/node/src
forbid_words $core "$(word 'f32|f64')" "floating point in the ledger"
forbid_words $core "$(word 'std::(\{.*)?(fs|net|thread|env|process)')" "the ledger does no I/O and starts no thread"
forbid_words $core "(^|[^[:alnum:]_.])($clocks)" "the ledger has no clock: time is an argument"
forbid_words $core '(^|[^[:alnum:]_])unsafe([^[:alnum:]_]|$)' "unsafe code"
forbid_words crates/sync/src "(^|[^[:alnum:]_.])($clocks)" "sync has no clock: time is an argument"
for part in state effect; do
    for place in "$node/service/$part" "$node/service/$part.rs"; do
        forbid_words "$place" "$(word 'tokio|libp2p|sled')" "service::$part decides; it does no I/O"
        forbid_words "$place" "(^|[^[:alnum:]_])($clocks)" "service::$part has no clock: time is an argument"
    done
done
forbid_words "$node/service/worker.rs" "$(word 'libp2p|axum|hyper')" "the worker knows neither libp2p nor HTTP"
forbid_words "$node/network" "$(word 'crate::(store|api|service::state)')" "the network knows neither store, API nor decisions"
forbid_words "$node/store" "$(word 'tokio|libp2p')" "the store knows neither tokio nor libp2p"
forbid_words "$node/api" "$(word 'crate::(store|network|service::state)|sled|libp2p')" "the API goes through the handle"
forbid_words "$node/cli" "$(word 'crate::(store|network|service::state)|sled')" "the commands go through the API"

if ((breaches > 0)); then
    echo "fence: $breaches breaches" >&2
    exit 1
fi
echo "fence: whole"
