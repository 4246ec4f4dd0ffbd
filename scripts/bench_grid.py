#!/usr/bin/env python3
"""How the time of a training step grows with the model, the documents and the batch: a table, and a figure of it.

    scripts/bench_grid.py [--program P] [--precision f32] [--rounds N] [--steps N] [--only AXIS] OUT

From a model of 4 layers, 256 wide, with documents of 256 tokens and batches of 32, one axis at a time changes: the width,
64 to 768; the context, 128 to 2,048 tokens, with as many tokens a batch; the batch, 8 to 512 documents of 64 tokens, of a
model 64 wide and of one 256 wide. Each is measured with one thread and with all, by `attnlab bench` on made-up text as
a language model, in rounds. OUT/grid.csv has the medians, OUT/grid.svg and .png are drawn from it, which needs matplotlib.
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
FIELDS = ["axis", "layers", "embed", "context", "batch", "threads", "precision", "step_ms", "tokens", "microseconds_a_token",
          "gflop", "gflop_per_second", "peak_gflop_per_second", "share_of_peak", "peak_bytes"]

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


def made_up_text(characters, seed=1):
    """Words of Zipf's frequencies."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(2000)]
    weights = [1 / rank for rank in range(1, len(words) + 1)]
    return " ".join(draw.choices(words, weights, k=characters // 6))[:characters]


def threads_to_try():
    return sorted({1, os.cpu_count()})


def experiment(cell, steps):
    """The file of a cell, with enough documents for all steps of a run."""
    documents = cell["batch"] * (steps + 8)
    return EXPERIMENT.format(**cell, heads=cell["embed"] // 32, hidden=4 * cell["embed"], documents=documents)


def measure(arguments, folder, axis, cell, threads):
    """One row, without the medians over rounds."""
    file = folder / "{embed}-{context}-{batch}.toml".format(**cell)
    command = [arguments.program, "bench", str(file), "--data", str(folder), "--steps", str(arguments.steps), "--json"]
    command += ["--threads", str(threads), "--precision", arguments.precision]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    ours = report["step"]
    return cell | {
        "axis": axis,
        "threads": threads,
        "precision": arguments.precision,
        "step_ms": ours["step_ms"]["median"],
        "tokens": ours["tokens"],
        "microseconds_a_token": 1e6 / ours["tokens_per_second"],
        "gflop": ours["gflop"],
        "gflop_per_second": ours["gflop_per_second"],
        "peak_gflop_per_second": ours["peak_gflop_per_second"],
        "share_of_peak": ours["share_of_peak"],
        "peak_bytes": report["peak_bytes"],
    }


def draw(rows, out):
    """Share of the peak and memory by axis, a line for each number of threads."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    axes = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    figure, panels = pyplot.subplots(2, len(axes), figsize=(3.2 * len(axes), 5.2), sharey="row", squeeze=False)
    for column, axis in enumerate(axes):
        for threads in threads_to_try():
            of_line = [row for row in rows if row["axis"] == axis and row["threads"] == threads]
            where = [row[VARIED[axis]] for row in of_line]
            label = f"{threads} thread{'s' * (threads > 1)}"
            panels[0][column].plot(where, [100 * row["share_of_peak"] for row in of_line], "o-", label=label)
            panels[1][column].plot(where, [row["peak_bytes"] / 1e6 for row in of_line], "o-", label=label)
        for panel in panels[:, column]:
            panel.set_xscale("log", base=2)
            panel.set_xticks(where, [f"{x:,}" for x in where])
            panel.minorticks_off()
            panel.set_ylim(bottom=0)
        panels[1][column].set_xlabel(axis)
    panels[0][0].set_ylabel("share of the peak (%)")
    panels[1][0].set_ylabel("memory at most (MB)")
    panels[0][0].legend(frameon=False)
    figure.tight_layout()
    for ending in ("svg", "png"):
        figure.savefig(out / f"grid.{ending}", dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    parser.add_argument("out", type=Path)
    parser.add_argument("--program", default=os.path.join(target, "release/attnlab"))
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", choices=AXES, action="append", help="measure this axis alone")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    cells = [(axis, cell) for axis in arguments.only or AXES for cell in AXES[axis]]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "text.txt").write_text(made_up_text(4_000_000))
        for _, cell in cells:
            name = "{embed}-{context}-{batch}.toml".format(**cell)
            (folder / name).write_text(experiment(cell, arguments.steps))
        subprocess.run([arguments.program, "compile", str(folder)], check=True)
        rounds = []
        for round in range(arguments.rounds):
            rounds.append([])
            for axis, cell in cells:
                for threads in threads_to_try():
                    rounds[-1].append(row := measure(arguments, folder, axis, cell, threads))
                    print(f"round {round + 1}: {axis} {row[VARIED[axis]]}, {threads} threads: "
                          f"{row['step_ms']:.1f} ms, {100 * row['share_of_peak']:.0f} %", file=sys.stderr)
    middle = lambda values: statistics.median(values) if not isinstance(values[0], str) else values[0]
    rows = [{field: middle([row[field] for row in same]) for field in FIELDS} for same in zip(*rounds)]
    with open(arguments.out / "grid.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    draw(rows, arguments.out)


if __name__ == "__main__":
    main()
