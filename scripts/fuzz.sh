#!/usr/bin/env bash
# Fuzzes every parser of external files with libFuzzer:
#
#     scripts/fuzz.sh [SECONDS [TARGET…]]      60 seconds for each target of tests/fuzz
#
# The corpus is kept in target/fuzz-corpus, where the next call continues; an input that
# crashes a target is written to target/fuzz-crashes and ends the script. It installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(experiment questions metrics weights checkpoint)

cargo fuzz --version >/dev/null 2>&1 || {
    echo "error: cargo-fuzz is missing: cargo install cargo-fuzz" >&2
    exit 1
}
command -v c++ >/dev/null || {
    echo "error: a C++ compiler is missing, which builds libFuzzer" >&2
    exit 1
}

# The versions of the program itself.
cp Cargo.lock tests/fuzz/Cargo.lock
# The parsers have no unsafe code, so there is nothing for a sanitizer to find.
options=(--fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none)

mkdir -p target/fuzz-crashes
for target in "${targets[@]}"; do
    corpus=target/fuzz-corpus/$target
    mkdir -p "$corpus"
    seeds=tests/fuzz/seeds/$target
    [ "$target" != experiment ] || seeds=experiments
    [ "$target" != checkpoint ] || seeds=tests/fuzz/seeds/weights
    echo "== $target, $seconds s"
    cargo fuzz run "${options[@]}" "$target" "$corpus" "$seeds" -- \
        -max_total_time="$seconds" -max_len=4096 -artifact_prefix=target/fuzz-crashes/ -print_final_stats=1
done
