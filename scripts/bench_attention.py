#!/usr/bin/env python3
"""What each kind and part of attention costs: a pretraining step and decoding beside vanilla's.

    scripts/bench_attention.py [--rounds N] [--steps N] [--program P] [--beside OLD] [--only NAMES] DATA

DATA is the folder that holds wiki.txt and the questions. Every round runs all of them in turn on
birthplace/vanilla.toml, so that what slows the machine for a while slows their neighbours too; a ratio is the median over
rounds of the ratio to vanilla of the same round. OLD, the program of an older commit, is timed beside this one on
birthplace/vanilla.toml and birthplace/perceiver.toml. Never part of CI.
"""

import argparse
import json
import os
import statistics
import subprocess

VANILLA = "birthplace/vanilla"
CASES = {
    "qk_norm rms": 'kind = "softmax", qk_norm = "rms"',
    "qk_norm l2": 'kind = "softmax", qk_norm = "l2"',
    "sink zero": 'kind = "softmax", sink = "zero"',
    "sink learned": 'kind = "softmax", sink = "learned"',
    "gate head": 'kind = "softmax", gate = "head"',
    "gate channel": 'kind = "softmax", gate = "channel"',
    "softcap": 'kind = "softmax", softcap = 30.0',
    "talking_heads": 'kind = "softmax", talking_heads = true',
    "rotary": 'kind = "softmax", rotary = { base = 10000.0, fraction = 1.0 }',
    "bias alibi": 'kind = "softmax", bias = "alibi"',
    "bias t5": 'kind = "softmax", bias = "t5"',
    "bias forgetting": 'kind = "softmax", bias = "forgetting"',
    "kv_heads": 'kind = "softmax", kv_heads = 2',
    "window": 'kind = "softmax", window = 64',
    "sigmoid": 'kind = "sigmoid"',
    "stick-breaking": 'kind = "stick-breaking"',
    "differential": 'kind = "differential"',
    "synthesizer": 'kind = "synthesizer"',
    "linear": 'kind = "linear"',
    "based": 'kind = "based"',
    "retention": 'kind = "retention"',
    "gated-linear": 'kind = "gated-linear"',
    "delta": 'kind = "delta"',
    "gated-delta": 'kind = "gated-delta"',
}


def commands(options):
    """Name, name of what it is compared with, and command of all that is timed, in the order of a round."""
    bench = lambda program, name: [program, "bench", f"experiments/{name}.toml"]
    for name in [VANILLA, "birthplace/perceiver"] if options.beside else []:
        older = f"{name}, older"
        yield name, older, bench(options.program, name)
        yield older, None, bench(options.beside, name)
    if not options.beside:
        yield VANILLA, None, bench(options.program, VANILLA)
    for name in options.only:
        yield name, VANILLA, [*bench(options.program, VANILLA), "--set", f"model.attention={{ {CASES[name]} }}"]


def measure(command, options):
    command = [*command, "--data", options.data, "--steps", str(options.steps), "--json"]
    run = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return run["parameters"], run["step"]["step_ms"]["median"], 1e3 / run["decode"]["names_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--program", default="target/release/attnlab")
    parser.add_argument("--beside", metavar="OLD")
    parser.add_argument("--only", type=lambda names: names.split(","), default=list(CASES), help="with commas between them")
    options = parser.parse_args()
    unknown = [name for name in options.only if name not in CASES]
    if unknown:
        parser.error(f"--only has {', '.join(unknown)}; the names are {', '.join(CASES)}")
    for program in filter(None, [options.program, options.beside]):
        if not os.access(program, os.X_OK):
            parser.error(f"there is no program {program}: `cargo build --release` makes target/release/attnlab")

    timed = list(commands(options))
    runs = {name: [] for name, _, _ in timed}
    for round_number in range(1, options.rounds + 1):
        print(f"round {round_number} of {options.rounds}, load {os.getloadavg()[0]:.1f}", flush=True)
        for name, _, command in timed:
            runs[name].append(measure(command, options))

    print(f"medians of {options.rounds} rounds, {os.cpu_count()} cores")
    print(f"{'':30} {'parameters':>10} {'step':>9} {'ratio':>6} {'a name':>9} {'ratio':>6}  beside")
    for name, base, _ in timed:
        steps, names = ([run[what] for run in runs[name]] for what in (1, 2))
        ratio = lambda what: statistics.median(run[what] / other[what] for run, other in zip(runs[name], runs[base or name]))
        print(
            f"{name:30} {runs[name][0][0]:10,} {statistics.median(steps):6.0f} ms {ratio(1):6.3f}"
            f" {statistics.median(names):6.2f} ms {ratio(2):6.3f}  {base or ''}"
        )


if __name__ == "__main__":
    main()
