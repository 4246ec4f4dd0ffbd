#!/usr/bin/env python3
"""Measures how training-step time grows with model width, context and batch size; writes a table and a figure.

    scripts/bench_grid.py [--program P] [--precision f32] [--rounds N] [--steps N] [--only AXIS] OUT

From 4 layers, width 256, context 256 and batch size 32, one axis varies at a time: width, 64 to 768; context, 128 to
2,048, at a constant 8,192 tokens per batch; batch size, 8 to 512 documents of 64 tokens, at widths 64 and 256. Each
point is `attnlab bench` of a language model on random text, with one thread and with all, in interleaved rounds; STEPS
is the number of steps of a long step, and small models take more.
OUT/grid.csv has the medians; OUT/grid.svg and .png plot them, which needs matplotlib.
Shapes are compiled into the program first, a few seconds each. Never part of CI.
"""

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BASE = dict(layers=4, embed=256, context=256, batch=32)
AXES = {
    "width": [BASE | dict(embed=embed) for embed in (64, 128, 256, 384, 768)],
    "context": [BASE | dict(context=context, batch=8192 // context) for context in (128, 256, 512, 1024, 2048)],
    "batch": [BASE | dict(context=64, batch=batch) for batch in (8, 32, 128, 512)],
    "batch, 64 wide": [BASE | dict(embed=64, context=64, batch=batch) for batch in (8, 32, 128, 512)],
}
VARIED = {"width": "embed", "context": "context", "batch": "batch", "batch, 64 wide": "batch"}
FIELDS = ["axis", "layers", "embed", "context", "batch", "threads", "precision", "step_ms", "tokens", "us_per_token",
          "gflop", "gflop_per_second", "peak_gflop_per_second", "share_of_peak", "peak_bytes"]
MEASURED = FIELDS.index("step_ms")  # the fields from there on

EXPERIMENT = """
[data]
kind      = "text"
documents = "text.txt"
split     = "stream"
held_out  = 0.1

[model]
layers     = {layers}
embed      = {embed}
heads      = {heads}
head_dim   = 32
hidden     = {hidden}
vocabulary = 64
context    = {context}
attention  = {{ kind = "vanilla" }}

[pretrain]
objective       = "language-model"
epochs          = 1
epoch_documents = {documents}
batch_documents = {batch}
learning_rate   = 1e-3
shuffle         = true
"""


def random_text(characters, seed=1):
    """Zipf-distributed words."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(2000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return " ".join(rng.choices(words, weights, k=characters // 6))[:characters]


def threads_to_try():
    return sorted({1, len(os.sched_getaffinity(0))})


def steps_of(cell, steps):
    """More steps where they are short, up to 60 times as many."""
    work = lambda cell: cell["batch"] * cell["context"] * cell["embed"] ** 2
    return steps * max(1, min(60, work(BASE) // work(cell)))


def experiment(cell, steps):
    """A cell's experiment file, with enough documents for every step."""
    documents = cell["batch"] * (steps_of(cell, steps) + 8)
    return EXPERIMENT.format(**cell, heads=cell["embed"] // 32, hidden=4 * cell["embed"], documents=documents)


def measure(arguments, folder, axis, cell, threads):
    """One cell's row, in a single round."""
    file = folder / "{embed}-{context}-{batch}.toml".format(**cell)
    command = [arguments.program, "bench", str(file), "--data", str(folder), "--json"]
    command += ["--steps", str(steps_of(cell, arguments.steps)), "--threads", str(threads), "--precision", arguments.precision]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    report = json.loads(done.stdout)
    ours = report["step"]
    return cell | {
        "axis": axis,
        "threads": threads,
        "precision": arguments.precision,
        "step_ms": ours["step_ms"]["median"],
        "tokens": ours["tokens"],
        "us_per_token": 1e6 / ours["tokens_per_second"],
        "gflop": ours["gflop"],
        "gflop_per_second": ours["gflop_per_second"],
        "peak_gflop_per_second": ours["peak_gflop_per_second"],
        "share_of_peak": ours["share_of_peak"],
        "peak_bytes": report["peak_bytes"],
    }


def medians(rows):
    """One row per cell: what was measured is the median of the rounds."""
    cells = {}
    for row in rows:
        cells.setdefault(tuple(row[field] for field in FIELDS[:MEASURED]), []).append(row)
    middle = lambda same, field: statistics.median(row[field] for row in same)
    return [same[0] | {field: middle(same, field) for field in FIELDS[MEASURED:]} for same in cells.values()]


def plot(rows, out):
    """Plots share of peak and memory by axis, one line per thread count."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    axes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    figure, panels = pyplot.subplots(2, len(axes), figsize=(3.2 * len(axes), 5.2), sharey="row", squeeze=False)
    for column, axis in enumerate(axes):
        for threads in threads_to_try():
            line = [row for row in rows if row["axis"] == axis and row["threads"] == threads]
            xs = [row[VARIED[axis]] for row in line]
            label = f"{threads} thread{'s' * (threads > 1)}"
            panels[0][column].plot(xs, [100 * row["share_of_peak"] for row in line], "o-", label=label)
            panels[1][column].plot(xs, [row["peak_bytes"] / 1e6 for row in line], "o-", label=label)
        for panel in panels[:, column]:
            panel.set_xscale("log", base=2)
            panel.set_xticks(xs, [f"{x:,}" for x in xs])
            panel.minorticks_off()
            panel.set_ylim(bottom=0)
        panels[1][column].set_xlabel(axis)
    panels[0][0].set_ylabel("% of peak FLOP/s")
    panels[1][0].set_ylabel("peak memory (MB)")
    panels[0][0].legend(frameon=False)
    figure.tight_layout()
    for ending in ("svg", "png"):
        figure.savefig(out / f"grid.{ending}", dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", default=os.path.join(target, "release/attnlab"))
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", choices=AXES, action="append", help="measure only this axis")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cells = [(axis, cell) for axis in arguments.only or AXES for cell in AXES[axis]]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "text.txt").write_text(random_text(4_000_000))
        for _, cell in cells:
            name = "{embed}-{context}-{batch}.toml".format(**cell)
            (folder / name).write_text(experiment(cell, arguments.steps))
        subprocess.run([arguments.program, "compile", str(folder)], check=True)
        with open(arguments.out / "rounds.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            rows = []
            for number in range(arguments.rounds):
                for axis, cell in cells:
                    for threads in threads_to_try():
                        rows.append(row := measure(arguments, folder, axis, cell, threads))
                        writer.writerow(row)
                        file.flush()
                        print(f"round {number + 1}: {axis} {row[VARIED[axis]]}, threads={threads}: "
                              f"{row['step_ms']:.1f} ms, {100 * row['share_of_peak']:.0f} %", file=sys.stderr)
    rows = medians(rows)
    with open(arguments.out / "grid.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    plot(rows, arguments.out)


if __name__ == "__main__":
    main()
