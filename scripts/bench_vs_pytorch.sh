#!/usr/bin/env bash
# Runs attnlab and PyTorch in turn on the assignment's pretraining step, on this machine, and prints
# how they compare. The quieter the machine, the more the numbers say. Never part of CI.
#
#     scripts/bench_vs_pytorch.sh [--yes] [--model MODEL]... [--precision PRECISION]... [--rounds N] [--steps N] [--threads N] [--device cuda] [--program PROGRAM] DATA
#
# DATA is the folder that holds wiki.txt and the questions. MODEL is vanilla (the default), large (6 layers, 384 wide,
# context 256) or perceiver; PRECISION is f32 (the default), bf16, or on a GPU tf32 or tf32x3 (against PyTorch in f32).
# Each round measures every combination.
#
# PyTorch is installed once, from PyPI, into a virtual environment in target/; its Linux build needs PyPI's CUDA
# packages, 5.4 GB in all. --yes skips the prompt. PyTorch is timed with glibc's defaults and with glibc told to keep
# freed memory, and the faster counts. On a GPU the system's python3 is used if it has PyTorch.
#
# --program is attnlab itself, such as target/cuda-dist/run; without it cargo builds it (with --features cuda for a GPU).
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '5s/^# *//p' "$0" >&2
    exit 2
}

yes=no rounds=3 steps=5 threads=() device=cpu models=() precisions=() program= data=
while [ $# -gt 0 ]; do
    case $1 in
    --yes) yes=yes ;;
    --device | --model | --precision | --program)
        [ -n "${2:-}" ] || usage
        case $1:$2 in
        --device:cpu | --device:cuda) device=$2 ;;
        --model:vanilla | --model:large | --model:perceiver) models+=("$2") ;;
        --precision:f32 | --precision:bf16 | --precision:tf32 | --precision:tf32x3) precisions+=("$2") ;;
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
[ ${#models[@]} -gt 0 ] || models=(vanilla)
[ ${#precisions[@]} -gt 0 ] || precisions=(f32)
case $device:${precisions[*]} in
cpu:*tf32*)
    echo "error: tf32 and tf32x3 are for --device cuda" >&2
    exit 2
    ;;
esac

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
peer() { # model, precision, padded or ragged
    local options=()
    [ "$2" = tf32x3 ] && options+=(--precision f32) || options+=(--precision "$2")
    [ "$3" = padded ] || options+=(--no-padding)
    env "${allocator[@]}" "$python" scripts/peer_pytorch.py "$data" --model "$1" --device "$device" "${options[@]}" \
        --steps "$steps" "${threads[@]}" --json "${@:4}"
}

experiment() { # attnlab's arguments for a model
    case $1 in
    perceiver) echo experiments/birthplace/perceiver.toml ;;
    vanilla) echo experiments/birthplace/vanilla.toml ;;
    large) echo experiments/birthplace/vanilla.toml --set=model.{layers=6,embed=384,heads=6,head_dim=64,hidden=1536,context=256} ;;
    esac
}

paddings() { # the Perceiver has only a padded version
    [ "$1" = perceiver ] && echo padded || echo padded ragged
}

# How glibc treats freed memory does not matter on a GPU.
settings=(plain raised)
[ "$device" = cpu ] || settings=(plain)

uptime
# What cannot be measured fails now, not after PyTorch's trials.
for model in "${models[@]}"; do
    for precision in "${precisions[@]}"; do
        # shellcheck disable=SC2046 # must split
        "$program" bench $(experiment "$model") --data "$data" --device "$device" --precision "$precision" --steps 1 >/dev/null
    done
done
declare -A way
allocator=("${raised[@]}")
for model in "${models[@]}"; do
    for precision in "${precisions[@]}"; do
        for padding in $(paddings "$model"); do
            case=$model-$precision-$padding
            echo "== $case: finding PyTorch's fastest way"
            peer "$model" "$precision" "$padding" >"$results/way.json"
            way[$case]=$("$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["way"])' "$results/way.json")
        done
    done
done

for round in $(seq "$rounds"); do
    echo "== round $round of $rounds: $(uptime)"
    for model in "${models[@]}"; do
        for precision in "${precisions[@]}"; do
            # shellcheck disable=SC2046 # must split
            "$program" bench $(experiment "$model") --data "$data" --device "$device" --precision "$precision" \
                --steps "$steps" "${threads[@]}" --json >"$results/$model-$precision-attnlab-$round.json"
            for setting in "${settings[@]}"; do
                allocator=()
                [ "$setting" = plain ] || allocator=("${raised[@]}")
                for padding in $(paddings "$model"); do
                    case=$model-$precision-$padding
                    peer "$model" "$precision" "$padding" --way "${way[$case]}" >"$results/$case-$setting-$round.json"
                done
            done
        done
    done
done

"$python" - "$results" "$rounds" "${models[*]}" "${precisions[*]}" "${settings[*]}" <<'END'
import json, statistics, sys
from pathlib import Path

folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
models, precisions, settings = (words.split() for words in sys.argv[3:])


def read(name):
    files = [folder / f"{name}-{round}.json" for round in range(1, rounds + 1)]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def median(runs, value):
    return statistics.median(value(run) for run in runs)


def fastest(model, precision, padding):
    """PyTorch's seconds per step, tokens/s, megabytes and way, with glibc's better setting."""
    cells = [read(f"{model}-{precision}-{padding}-{setting}") for setting in settings]
    cells = [
        (median(runs, lambda r: r["step_seconds"]), median(runs, lambda r: r["tokens_per_second"]),
         median(runs, lambda r: r["peak_bytes"]) / 1e6, runs[0]["way"])
        for runs in cells if runs
    ]
    return min(cells, default=None)


device = read(f"{models[0]}-{precisions[0]}-attnlab")[0]["gpu"] or "the CPU"
print(f"\nOn {device}. of {rounds} rounds; ratio: attnlab's speedup over PyTorch.\n")
print("| model | precision | attnlab: step, tokens/s, memory | share of peak | PyTorch, reference padding | ratio | PyTorch, no padding | ratio |")
print("|---|---|---|---|---|---|---|---|")
for model in models:
    for precision in precisions:
        ours = read(f"{model}-{precision}-attnlab")
        step_s = median(ours, lambda r: r["step"]["step_ms"]["median"] / 1e3)
        speed = median(ours, lambda r: r["step"]["tokens_per_second"])
        share = median(ours, lambda r: r["step"]["share_of_peak"])
        # On a GPU it would be the host's, beside PyTorch's of the device.
        memory = median(ours, lambda r: r["peak_bytes"] / 1e6)
        memory = "" if ours[0]["gpu"] else f", {memory:,.0f} MB"
        cells = [model, precision, f"{step_s:.4g} s, {speed:,.0f}{memory}", f"{100 * share:.0f} %"]
        for padding in ("padded", "ragged"):
            peer = fastest(model, precision, padding)
            if peer is None:
                cells += ["", ""]
                continue
            seconds, tokens, megabytes, way = peer
            # Padded: seconds per 128-document step. Unpadded: tokens/s, since the documents differ.
            beside = ", f32" if precision == "tf32x3" else ""
            ratio = seconds / step_s if padding == "padded" else speed / tokens
            cells += [f"{seconds:.4g} s, {tokens:,.0f}, {megabytes:,.0f} MB: {way}{beside}", f"{ratio:.2f}"]
        print("| " + " | ".join(cells) + " |")
END
uptime
