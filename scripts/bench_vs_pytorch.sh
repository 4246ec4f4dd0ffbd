#!/usr/bin/env bash
# Runs attnlab and PyTorch in turn on the assignment's pretraining step, on this machine, and prints
# how they compare. The quieter the machine, the more the numbers say. Never part of CI.
#
#     scripts/bench_vs_pytorch.sh [--yes] [--rounds N] [--steps N] [--threads N] [--device cuda] [--precision PRECISION] [--program PROGRAM] DATA
#
# DATA is the folder that holds wiki.txt and the questions. PyTorch comes from PyPI into a virtual
# environment in target/, once; PyPI's build for Linux brings its CUDA packages with it, 5.4 GB in all,
# and does not import without them. --yes installs it without a question. PyTorch is measured with glibc as it is and with
# glibc told to keep freed memory, and the faster counts.
#
# --device cuda measures both on the GPU, in f32 or --precision tf32, or in tf32x3 beside PyTorch's f32; python3
# serves if it has PyTorch. --program is attnlab itself, such as target/cuda-dist/run; without it cargo
# builds it (with --features cuda for a GPU).
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '5s/^# *//p' "$0" >&2
    exit 2
}

yes=no rounds=3 steps=5 threads=() device=cpu precision=f32 program= data=
while [ $# -gt 0 ]; do
    case $1 in
    --yes) yes=yes ;;
    --device | --precision | --program)
        [ -n "${2:-}" ] || usage
        case $1:$2 in
        --device:cpu | --device:cuda) device=$2 ;;
        --precision:f32 | --precision:tf32 | --precision:tf32x3) precision=$2 ;;
        --program:*) program=$2 ;;
        *) usage ;;
        esac
        shift
        ;;
    --rounds | --steps | --threads)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
        case $1 in
        --rounds) rounds=$2 ;;
        --steps) steps=$2 ;;
        --threads) threads=(--threads "$2") ;;
        esac
        shift
        ;;
    -*) usage ;;
    *)
        [ -z "$data" ] || usage
        data=$1
        ;;
    esac
    shift
done
[ -n "$data" ] || usage
[ -f "$data/wiki.txt" ] || {
    echo "error: there is no wiki.txt in $data" >&2
    exit 5
}

venv=target/peer-pytorch
python=$venv/bin/python
if [ "$device" = cuda ] && python3 -c 'import torch' 2>/dev/null; then python=python3; fi
if ! "$python" -c 'import torch' 2>/dev/null; then
    if [ "$yes" = no ]; then
        read -r -p "PyTorch takes 5.4 GB in $venv. Install it? [y/N] " answer || answer=n
        [[ $answer = [yY]* ]] || exit 1
    fi
    rm -rf "$venv" # left by an interrupted installation
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check torch numpy
fi

if [ -z "$program" ]; then
    features=()
    [ "$device" = cpu ] || features=(--features cuda)
    cargo build --locked --release "${features[@]}"
    program=${CARGO_TARGET_DIR:-target}/release/attnlab
fi
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT

# A large block that is freed goes back to the system and is fetched anew, page by page, in each
# step, unless glibc is told to keep it.
raised=(MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456)
peer_precision=$precision
[ "$precision" != tf32x3 ] || peer_precision=f32
peer() {
    env "${allocator[@]}" "$python" scripts/peer_pytorch.py "$data" --device "$device" --precision "$peer_precision" \
        --steps "$steps" "${threads[@]}" --json "$@"
}

padding_options() {
    [ "$1" = padded ] || echo --no-padding
}

# How glibc treats freed memory does not matter on a GPU.
settings=(plain raised)
[ "$device" = cpu ] || settings=(plain)

uptime
declare -A way
allocator=("${raised[@]}")
for padding in padded ragged; do
    echo "== $padding: the fastest way to write it in PyTorch"
    # shellcheck disable=SC2046 # one word or none
    peer $(padding_options "$padding") >"$results/way.json"
    way[$padding]=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["way"])' "$results/way.json")
done

for round in $(seq "$rounds"); do
    echo "== round $round of $rounds: $(uptime)"
    "$program" bench experiments/birthplace/vanilla.toml --data "$data" --device "$device" --precision "$precision" \
        --steps "$steps" "${threads[@]}" --json >"$results/attnlab-$round.json"
    for setting in "${settings[@]}"; do
        allocator=()
        [ "$setting" = plain ] || allocator=("${raised[@]}")
        for padding in padded ragged; do
            # shellcheck disable=SC2046
            peer $(padding_options "$padding") --way "${way[$padding]}" >"$results/$padding-$setting-$round.json"
        done
    done
done

"$python" - "$results" "$rounds" "${settings[@]}" <<'END'
import json, statistics, sys

folder, rounds, settings = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
read = lambda name: [json.load(open(f"{folder}/{name}-{r}.json")) for r in range(1, rounds + 1)]
median = lambda runs, value: statistics.median(value(run) for run in runs)

ours = read("attnlab")
step_s = median(ours, lambda r: r["step"]["step_ms"]["median"] / 1e3)
speed = median(ours, lambda r: r["step"]["tokens_per_second"])
print(f"== medians of {rounds} rounds, on {ours[0]['gpu'] or 'the CPU'}")
print(f"attnlab           {1e3 * step_s:8.2f} ms a step  {speed:9,.0f} tokens/s  {ours[0]['peak_bytes'] / 1e6:6,.0f} MB of the host")
best = {}
for padding in ("padded", "ragged"):
    for setting in settings:
        runs = read(f"{padding}-{setting}")
        peer_s = median(runs, lambda r: r["step_seconds"])
        tokens = median(runs, lambda r: r["tokens_per_second"])
        memory = median(runs, lambda r: r["peak_bytes"]) / 1e6
        print(f"PyTorch {padding}, {setting:6} {1e3 * peer_s:9.2f} ms a step  {tokens:9,.0f} tokens/s  {memory:6,.0f} MB  {runs[0]['way']}")
        if padding not in best or tokens > best[padding][1]:
            best[padding] = (peer_s, tokens)
print(f"a step on the same 128 documents, PyTorch padded as the reference: {best['padded'][0] / step_s:.2f} times as fast")
print(f"tokens a second, no padding in either:                             {speed / best['ragged'][1]:.2f} times as fast")
END
uptime
