#!/usr/bin/env bash
# Makes the most of 15 minutes on a GPU: tests, benchmarks and the assignment's runs, in one call.
#
#     scripts/gpu_check.sh [--seconds N] [--program PROGRAM] [--experiment FILE]... [--seeds N] DATA OUT
#
# In order until --seconds (720) are over: the tests that need a GPU; `attnlab bench` in f32, tf32, tf32x3 and bf16, in
# turn with PyTorch's vanilla if python3 has it; in full with seed 1 the experiments (by default the assignment's
# vanilla, Perceiver and RoPE); the benchmarks again; and further seeds, up to --seeds (3). Whatever still runs then is
# interrupted, as by Ctrl-C.
#
# DATA is the folder that holds cs224n/. OUT is brought up to date after each step: tests.log, bench.log, bench.json
# (one line per measurement), runs.log, and runs.tar.gz, the results without weights.
# PROGRAM is target/cuda-dist/run, from `scripts/cuda_build.sh --tests` on another machine: nothing is built here.
set -euo pipefail

usage() {
    sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
root=$(realpath "$(dirname "$0")/..")
seconds=720 program=$root/target/cuda-dist/run experiments=() seeds=3 places=()
while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --seeds)
        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage
        [ "$1" = --seeds ] && seeds=$2 || seconds=$2
        shift
        ;;
    --program | --experiment)
        [ -f "${2:-}" ] || { echo "error: $1 \"${2:-}\" is not a file" >&2 && exit 2; }
        [ "$1" = --program ] && program=$(realpath "$2") || experiments+=("$(realpath "$2")")
        shift
        ;;
    -*) usage ;;
    *) places+=("$1") ;;
    esac
    shift
done
[ ${#places[@]} = 2 ] || usage
data=$(realpath "${places[0]}") out=$(realpath -m "${places[1]}")
cd "$root"
[ -f "$data/cs224n/wiki.txt" ] || { echo "error: there is no cs224n/wiki.txt in $data" >&2 && exit 5; }
[ -x "$program" ] || { echo "error: no executable $program; run scripts/cuda_build.sh --tests" >&2 && exit 2; }
[ ${#experiments[@]} -gt 0 ] || experiments=(experiments/birthplace/{vanilla,perceiver,rope}.toml)
[ -z "$(ls -A "$out" 2>/dev/null)" ] || { echo "error: $out is not empty" >&2 && exit 2; }
mkdir -p "$out"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
end=$((SECONDS + seconds))
left() { echo $((end - SECONDS)); }
# Runs a command for at most some seconds, or the time left, and logs its exit code. At the end it gets SIGINT, and
# SIGKILL 8 seconds later, which loses whatever it has not saved by then.
timed() { # log, seconds, command; its output goes to $to, if that is set
    local log=$1 most=$2 code=0
    shift 2
    [ "$(left)" -gt 15 ] || { echo "== no time left for: $*" | tee -a "$log" && return 1; }
    [ "$most" -lt $(($(left) - 10)) ] || most=$(($(left) - 10))
    echo "== $*" >>"$log"
    timeout --signal=INT --kill-after=8 "$most" "$@" >>"${to:-$log}" 2>>"$log" || code=$?
    echo "== exit code $code, $(left) s left: $*" | tee -a "$log"
    return $code
}

timed "$out/tests.log" 240 "$program" --tests cuda --test-threads 1 || true

# PyTorch's two fastest ways on an H100, one per round; the faster one counts.
ways=("CUDA graph, written out" "CUDA graph, scaled_dot_product_attention")
record() { # label, command: appends a line of JSON
    local what=$1
    shift
    rm -f "$work/one.json"
    to=$work/one.json timed "$out/bench.log" 90 "$@" || return 0
    python3 -c 'import json, sys; print(json.dumps({"measured": sys.argv[1], **json.load(open(sys.argv[2]))}))' \
        "$what" "$work/one.json" >>"$out/bench.json" 2>>"$out/bench.log" || echo "== $what is not whole" >>"$out/bench.log"
}
ours=(bench "${experiments[0]}" --data "$data" --device cuda --steps 30 --json)
has_torch=$(python3 -c 'import torch' 2>/dev/null && echo yes || echo no)
peer=(python3 scripts/peer_pytorch.py "$data/cs224n" --device cuda --steps 30 --json)
measure() { # round
    for precision in f32 tf32 tf32x3 bf16; do
        record "attnlab, $precision, round $1" "$program" "${ours[@]}" --precision "$precision"
        if [ "$has_torch" = yes ] && [ "$precision" != tf32x3 ]; then
            record "PyTorch, $precision, round $1" "${peer[@]}" --precision "$precision" --way "${ways[$1 - 1]}"
        fi
    done
}

run() { # seed
    for experiment in "${experiments[@]}"; do
        # Finished seeds are reused from the results.
        timed "$out/runs.log" "$seconds" "$program" run "$experiment" --data "$data" --device cuda \
            --set "seeds=[$(seq --separator , "$1")]" --results "$work/results" || true
        [ ! -d "$work/results" ] || tar -C "$work" --exclude='*.safetensors' --exclude=.cache -czf "$out/runs.tar.gz" results
    done
}

measure 1
run 1
measure 2
for seed in $(seq 2 "$seeds"); do
    run "$seed"
done
echo "== $(ls "$out" | xargs)"
