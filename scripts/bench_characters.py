#!/usr/bin/env python3
"""nanoGPT's CPU form on the assignment's corpus, in attnlab and in PyTorch in turn: loss and time of training.

    scripts/bench_characters.py [--rounds N] [--program P] [--python PYTHON] [--compiled] DATA

DATA is the folder that holds cs224n/wiki.txt. Round r trains both with seed r: attnlab on
experiments/text/characters.toml, PyTorch by scripts/peer_pytorch.py --recipe characters, with PYTHON, which must have torch
(scripts/bench_vs_pytorch.sh installs it into target/peer-pytorch). Both times are those of the 2,000 steps alone, without
reading data, validation and evaluation. --compiled uses torch.compile, compile time included. Never part of CI.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

EXPERIMENT = "experiments/text/characters.toml"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", default=os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release/attnlab"))
    parser.add_argument("--python", default="target/peer-pytorch/bin/python")
    parser.add_argument("--compiled", action="store_true")
    arguments = parser.parse_args()
    if not (Path(arguments.data) / "cs224n/wiki.txt").is_file():
        parser.error(f"there is no cs224n/wiki.txt in {arguments.data}")
    ours, theirs = [], []
    for seed in range(1, arguments.rounds + 1):
        ours.append(attnlab(arguments, seed))
        theirs.append(pytorch(arguments, seed))
        print(f"seed {seed}: attnlab {told(ours[-1])}; PyTorch {told(theirs[-1])}", flush=True)
    for name, runs in ("attnlab", ours), ("PyTorch", theirs):
        losses = [loss for loss, _ in runs]
        print(f"{name}: loss {statistics.mean(losses):.4f} nats on average, {median_seconds(runs):.2f} s (median)")
    difference = statistics.mean(loss for loss, _ in ours) - statistics.mean(loss for loss, _ in theirs)
    ratio = statistics.median(theirs_s / ours_s for (_, ours_s), (_, theirs_s) in zip(ours, theirs))
    print(f"attnlab - PyTorch: {difference:+.4f} nats; PyTorch takes {ratio:.2f} times as long (median of rounds)")


def attnlab(arguments, seed):
    """Held-out loss in nats per character, and seconds of training."""
    with tempfile.TemporaryDirectory() as results:
        settings = ["--results", results, "--data", arguments.data, "--set", f"seeds=[{seed}]", "--quiet"]
        subprocess.run([arguments.program, "run", EXPERIMENT, *settings], check=True, stdout=subprocess.DEVNULL)
        summary = next(Path(results).glob("text/characters/summary.csv"))
        loss = next(float(row["value"]) for row in rows(summary) if row["measure"] == "loss")
        timings = next(Path(results).glob("text/characters/*/seed-*/timings.csv"))
        return loss, sum(float(row["step_ms"]) for row in rows(timings)) / 1e3


def pytorch(arguments, seed):
    """The same in PyTorch."""
    command = [arguments.python, "scripts/peer_pytorch.py", os.path.join(arguments.data, "cs224n"), "--recipe", "characters"]
    way = "compiled" if arguments.compiled else "eager"
    done = subprocess.run(
        [*command, "--way", way, "--seed", str(seed), "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    report = json.loads(done.stdout)
    return report["held_out_loss_nats"], report["seconds"]


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def told(run):
    return f"{run[0]:.4f} nats in {run[1]:.2f} s"


def median_seconds(runs):
    return statistics.median(seconds for _, seconds in runs)


if __name__ == "__main__":
    main()
