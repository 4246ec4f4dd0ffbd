#!/usr/bin/env bash
# What building costs: the first command of a fresh clone, an edited TOML, a new shape, and the tests.
#
#     scripts/build_times.sh [REVISION]
#
# REVISION (HEAD) is cloned to a temporary folder and built there, from empty target folders, with the crates that cargo
# has already downloaded. It prints seconds, and the processor. Never part of CI.
set -euo pipefail
cd "$(dirname "$0")/.."

clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet . "$clone"
cd "$clone"
git checkout --quiet "${1:-HEAD}"
cargo fetch --locked --quiet
unset CARGO_INCREMENTAL
export CARGO_TARGET_DIR=$clone/target

seconds() { # what, command
    local start=$EPOCHREALTIME
    "${@:2}" >"$clone/log" 2>&1 || { cat "$clone/log" && exit 1; }
    awk -v a="$start" -v b="$EPOCHREALTIME" -v what="$1" 'BEGIN { printf "%7.1f s  %s\n", b - a, what }'
}

sed -n 's/^model name[^:]*: /processor: /p' /proc/cpuinfo | sort -u
echo "cores: $(nproc)"
first=(cargo run --locked --release -- run experiments/quickstart.toml)
seconds "the first command, experiment and figures included" "${first[@]}"
echo '# edited' >>experiments/quickstart.toml
seconds "the same command after a TOML was edited" "${first[@]}"
sed 's/^hidden .*/hidden = 96/' experiments/quickstart.toml >"$clone/new.toml"
seconds "a plan of a TOML elsewhere with a new shape" cargo run --locked --release -- plan "$clone/new.toml"
seconds "cargo test, until the tests start" cargo test --locked --no-run
