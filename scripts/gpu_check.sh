#!/usr/bin/env bash
# What to do with a GPU that is at hand for a quarter of an hour: tests, speed, and the assignment's runs, in one call.
#
#     scripts/gpu_check.sh [--seconds N] [--program PROGRAM] [--experiment FILE]... [--seeds N] DATA OUT
#
# In this order, until N seconds (720) have passed: the tests that need a GPU; `attnlab bench` in f32, tf32, tf32x3 and bf16
# beside PyTorch's step in turn, where python3 has PyTorch; and in full, with seeds 1 to 3, the experiments (the
# assignment's vanilla, Perceiver and RoPE), the first seed of each first. What takes too long is interrupted, as by Ctrl-C.
#
# DATA is the folder that holds cs224n/. After each step OUT has all that there is by then: tests.log, bench.log,
# bench.json (a line for each measurement), runs.log, and runs.tar.gz, the results without weights.
# PROGRAM is target/cuda-dist/run, made by `scripts/cuda_build.sh --tests` on another machine: nothing is built here.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '4s/^# *//p' "$0" >&2
    exit 2
}
seconds=720 program=target/cuda-dist/run experiments=() seeds=3 places=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --seeds)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
        [ "$1" = --seeds ] && seeds=$2 || seconds=$2
        shift
        ;;
    --program | --experiment)
        [ -f "${2:-}" ] || { echo "error: $1 is \"${2:-}\", which is not a file" >&2 && exit 2; }
        [ "$1" = --program ] && program=$2 || experiments+=("$2")
        shift
        ;;
    -*) usage ;;
    *) places+=("$1") ;;
    esac
    shift
done
[ ${#places[@]} = 2 ] || usage
data=${places[0]} out=${places[1]}
[ -f "$data/cs224n/wiki.txt" ] || { echo "error: there is no cs224n/wiki.txt in $data" >&2 && exit 5; }
[ -x "$program" ] || { echo "error: there is no $program: scripts/cuda_build.sh --tests makes it" >&2 && exit 2; }
[ ${#experiments[@]} -gt 0 ] || experiments=(experiments/birthplace/{vanilla,perceiver,rope}.toml)
mkdir -p "$out"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
end=$((SECONDS + seconds))
left() { echo $((end - SECONDS)); }
# Runs something with what is left of the time, and says how it ended. It is interrupted 10 seconds before the end, and
# killed 8 seconds later: then it could not write down what it had.
step() { # log, command
    local log=$1 code=0
    shift
    [ "$(left)" -gt 15 ] || { echo "== no time is left for: $*" | tee -a "$log" && return 1; }
    echo "== $*" >>"$log"
    timeout --signal=INT --kill-after=8 $(($(left) - 10)) "$@" >>"$log" 2>&1 || code=$?
    echo "== ended with $code, $(left) seconds before the end: $*" | tee -a "$log"
    return $code
}

step "$out/tests.log" "$program" --tests cuda --test-threads 1 || true

# Of PyTorch's ways to write the step, the faster of the two that were fastest on an H100.
ways=("CUDA graph, written out" "CUDA graph, scaled_dot_product_attention")
measured() { # what was measured, command: a line of JSON
    local what=$1
    shift
    step "$out/bench.log" sh -c '"$@" >"$0"' "$work/one.json" "$@" || return 0
    python3 -c 'import json, sys; print(json.dumps({"measured": sys.argv[1], **json.load(open(sys.argv[2]))}))' \
        "$what" "$work/one.json" >>"$out/bench.json"
}
ours=(bench experiments/birthplace/vanilla.toml --data "$data" --device cuda --steps 30 --json)
has_torch=$(python3 -c 'import torch' 2>/dev/null && echo yes || echo no)
peer=(python3 scripts/peer_pytorch.py "$data/cs224n" --device cuda --steps 30 --json)
for precision in f32 tf32 tf32x3 bf16; do
    for round in 1 2; do
        measured "attnlab, $precision, round $round" "$program" "${ours[@]}" --precision "$precision"
        if [ "$has_torch" = yes ] && [ "$precision" != tf32x3 ]; then
            measured "PyTorch, $precision, round $round" "${peer[@]}" --precision "$precision" --way "${ways[round - 1]}"
        fi
    done
done

for seed in $(seq "$seeds"); do
    for experiment in "${experiments[@]}"; do
        # Seeds that are finished are found in the results.
        step "$out/runs.log" "$program" run "$experiment" --data "$data" --device cuda \
            --set "seeds=[$(seq --separator , "$seed")]" --results "$work/results" || true
        [ ! -d "$work/results" ] || tar -C "$work" --exclude='*.safetensors' -czf "$out/runs.tar.gz" results
    done
done
echo "== $(ls "$out" | xargs)"
