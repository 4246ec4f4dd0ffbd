#!/usr/bin/env python3
"""The assignment's pretraining step in PyTorch, as fast as it can honestly be made: what to compare with.

    scripts/peer_pytorch.py DATA [--model vanilla|large|perceiver] [--device cpu|cuda] [--precision f32|tf32|bf16]
                            [--threads N] [--steps N] [--no-padding] [--json]

DATA is the folder that holds wiki.txt. The model is the character GPT of experiments/base/assignment.toml
(3,323,392 parameters, dropout 0.1), a larger one (6 layers, 384 wide, context 256), or the assignment's Perceiver. A
step is forward, backward, clipping to norm 1 and AdamW on 128 documents, prepared before the timer starts.
Weights are initialised as in the reference.

As in the reference, documents are padded to the context length. With --no-padding the same documents
lie one after another, as in attnlab: all layers see real tokens alone.

--precision is that of matrix products: f32, TensorFloat-32, or bfloat16 by autocast.

With --recipe characters it is nanoGPT's CPU form of its character model instead (Karpathy 2022, README and
config/train_shakespeare_char.py: 4 layers, 4 heads, 128 wide, context 64, batches of 12, 2,000 steps, no dropout), trained
on the first nine tenths of wiki.txt, or of --text FILE, and scored on the rest: the counterpart of
experiments/text/characters.toml, whose biases, initialisation and weight decay it uses.

There are several ways to write the same mathematics. Each is tried for a few steps in a process of its
own, the fastest is measured; --way takes one of them without a trial.
"""

import argparse
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Shape:
    layers: int
    embed: int
    heads: int
    context: int
    latents: int = 0  # of a Perceiver


MODELS = {
    "vanilla": Shape(layers=4, embed=256, heads=8, context=128),
    "large": Shape(layers=6, embed=384, heads=6, context=256),
    "perceiver": Shape(layers=4, embed=256, heads=8, context=128, latents=64),
}
VOCABULARY = 256
DROPOUT, LEARNING_RATE, BATCH_DOCUMENTS = 0.1, 6e-3, 128
PAD, MASK = 0, 1
WARM_UP, TRIAL_STEPS = 2, 2
WARM_UP_CUDA = 6  # graphs are recorded in the first few

# How attention is written, whether torch.compile sees the model, and into how many groups of similar length
# the documents are sorted for attention (0: one group for each length that occurs, without a padded place).
PADDED_WAYS = {
    "eager, written out": dict(fused=False, compiled=False),
    "eager, scaled_dot_product_attention": dict(fused=True, compiled=False),
    "compiled, written out": dict(fused=False, compiled=True),
    "compiled, scaled_dot_product_attention": dict(fused=True, compiled=True),
}
# On a GPU only: the compiled step as a CUDA graph, which needs one shape.
GRAPH_WAYS = {
    "CUDA graph, written out": dict(fused=False, compiled=True, graph=True),
    "CUDA graph, scaled_dot_product_attention": dict(fused=True, compiled=True, graph=True),
}
RAGGED_WAYS = {
    "eager, written out, equal lengths": dict(fused=False, compiled=False, groups=0),
    "eager, scaled_dot_product_attention, equal lengths": dict(fused=True, compiled=False, groups=0),
    "eager, written out, 4 groups": dict(fused=False, compiled=False, groups=4),
    "eager, scaled_dot_product_attention, 4 groups": dict(fused=True, compiled=False, groups=4),
    "compiled, written out, 4 groups": dict(fused=False, compiled=True, groups=4),
}


def items(folder, context, batches, seed=0):
    """Span-corrupted documents as token ids, `batches` lists of them, in the corpus's order."""
    text = (Path(folder) / "wiki.txt").read_text(encoding="utf-8")
    ids = {c: 2 + i for i, c in enumerate(sorted(set(text)))}
    documents = [[ids[c] for c in line] for line in text.split("\n")]
    draw = random.Random(seed)

    def corrupt(document):
        shown = draw.randint(4, context * 7 // 8)  # not clamped to the document's length
        hidden = draw.randint(shown // 8, 3 * shown // 8)
        start = draw.randint(1, shown - hidden - 1)
        document = document[:shown]
        prefix, span, suffix = document[:start], document[start : start + hidden], document[start + hidden :]
        return [*prefix, MASK, *suffix, MASK, *span, MASK]

    full = len(documents) // BATCH_DOCUMENTS  # the short last batch of an epoch is left out
    for index in range(batches):
        first = index % full * BATCH_DOCUMENTS
        yield [corrupt(document) for document in documents[first : first + BATCH_DOCUMENTS]]


class Padded:
    """A batch as in the reference: [128, context - 1] inputs and targets."""

    def __init__(self, strings, shape, device, groups=None):
        self.heads, length = shape.heads, shape.context - 1
        rows = torch.tensor([s + [PAD] * (shape.context - len(s)) for s in strings])
        self.tokens, self.targets = rows[:, :-1].to(device).contiguous(), rows[:, 1:].to(device).contiguous()
        self.places = torch.arange(length, device=device)
        self.causal = causal(length, device)
        self.positions = self.tokens.numel()
        self.real = sum(len(s) - 1 for s in strings)

    def attend(self, q, k, v, attention):
        heads = lambda t: t.view(*t.shape[:2], self.heads, -1).transpose(1, 2)
        hidden = self.causal[: q.shape[1], : k.shape[1]]
        return attention(heads(q), heads(k), heads(v), hidden).transpose(1, 2).reshape(q.shape)


class Ragged:
    """The same documents one after another, shortest first: [tokens]."""

    def __init__(self, strings, shape, device, groups):
        self.heads = shape.heads
        strings = sorted(strings, key=len)
        flat = lambda parts: torch.tensor([t for part in parts for t in part], device=device)
        self.tokens, self.targets = flat(s[:-1] for s in strings), flat(s[1:] for s in strings)
        self.places = flat(range(len(s) - 1) for s in strings)
        self.positions = self.real = self.tokens.numel()
        lengths = [len(s) - 1 for s in strings]
        if groups == 0:
            sets = [[i for i, n in enumerate(lengths) if n == length] for length in sorted(set(lengths))]
        else:
            size = math.ceil(len(lengths) / groups)
            sets = [list(range(i, min(i + size, len(lengths)))) for i in range(0, len(lengths), size)]
        starts = [sum(lengths[:i]) for i in range(len(lengths))]
        self.groups, back, done = [], torch.zeros(self.real, dtype=torch.long), 0
        for members in sets:
            longest = max(lengths[i] for i in members)
            # Places past a document's end hold its first token; no real query looks that far ahead.
            index = torch.tensor(
                [[starts[i] + (t if t < lengths[i] else 0) for t in range(longest)] for i in members]
            )
            for row, i in enumerate(members):
                at = done + row * longest
                back[starts[i] : starts[i] + lengths[i]] = torch.arange(at, at + lengths[i])
            done += index.numel()
            self.groups.append((index.flatten().to(device), longest, causal(longest, device)))
        self.exact, self.back = groups == 0, back.to(device)

    def attend(self, q, k, v, attention):
        outputs, at = [], 0
        for index, longest, mask in self.groups:
            if self.exact:  # a group is a slice of the stream
                pick = lambda t: t[at : at + index.numel()]
            else:
                pick = lambda t: t.index_select(0, index)
            q_, k_, v_ = (pick(t).view(-1, longest, self.heads, t.shape[-1] // self.heads).transpose(1, 2) for t in (q, k, v))
            outputs.append(attention(q_, k_, v_, mask).transpose(1, 2).reshape(-1, q.shape[-1]))
            at += index.numel()
        together = torch.cat(outputs)
        return together if self.exact else together.index_select(0, self.back)


def causal(length, device):
    """True where a query may not look."""
    return torch.ones(length, length, dtype=torch.bool, device=device).triu(1)


class Block(nn.Module):
    def __init__(self, shape, fused):
        super().__init__()
        self.fused, embed = fused, shape.embed
        self.ln1, self.ln2 = nn.LayerNorm(embed), nn.LayerNorm(embed)
        self.query, self.key, self.value, self.proj = (nn.Linear(embed, embed) for _ in range(4))
        self.expand, self.contract = nn.Linear(embed, 4 * embed), nn.Linear(4 * embed, embed)

    def attention(self, q, k, v, hidden):
        if self.fused:
            return F.scaled_dot_product_attention(q, k, v, dropout_p=DROPOUT, is_causal=True)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        weights = F.softmax(scores.masked_fill(hidden, float("-inf")), dim=-1)
        return F.dropout(weights, DROPOUT) @ v

    def forward(self, x, batch):
        y = self.ln1(x)
        return self.rest(x, y, y, batch)

    def rest(self, x, queries, keys, batch):
        y = batch.attend(self.query(queries), self.key(keys), self.value(keys), self.attention)
        x = x + F.dropout(self.proj(y), DROPOUT)
        y = self.contract(F.gelu(self.expand(self.ln2(x))))
        return x + F.dropout(y, DROPOUT)


class Gpt(nn.Module):
    """With latents, a Perceiver: latents are the first block's queries and the last block's keys."""

    def __init__(self, shape, fused):
        super().__init__()
        embed = shape.embed
        self.token, self.position = nn.Embedding(VOCABULARY, embed), nn.Parameter(torch.zeros(shape.context, embed))
        self.latents = nn.Parameter(0.02 * torch.randn(shape.latents, embed)) if shape.latents else None
        self.blocks = nn.ModuleList(Block(shape, fused) for _ in range(shape.layers))
        self.norm, self.head = nn.LayerNorm(embed), nn.Linear(embed, VOCABULARY, bias=False)
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)

    def forward(self, batch):
        x = F.dropout(self.token(batch.tokens) + self.position[batch.places], DROPOUT)
        if self.latents is None:
            for block in self.blocks:
                x = block(x, batch)
        else:
            down, *blocks, up = self.blocks
            latents = self.latents.expand(len(x), -1, -1)
            latents = down.rest(latents, down.ln1(latents), x, batch)
            for block in blocks:
                latents = block(latents, batch)
            x = up.rest(x, x, up.ln1(latents), batch)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, VOCABULARY), batch.targets.view(-1), ignore_index=PAD)


def optimiser(model):
    """AdamW in which only the biases do not decay; its fused form where there is one."""
    biases = [p for name, p in model.named_parameters() if name.endswith("bias")]
    others = [p for name, p in model.named_parameters() if not name.endswith("bias")]
    groups = [dict(params=others, weight_decay=0.1), dict(params=biases, weight_decay=0.0)]
    options = dict(lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-8)
    try:
        return torch.optim.AdamW(groups, fused=True, **options)
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(groups, **options)


def measure(arguments, fused, compiled, groups=None, graph=False):
    torch.manual_seed(1)
    device = torch.device(arguments.device)
    torch.set_float32_matmul_precision("highest" if arguments.precision == "f32" else "high")
    rounded = torch.autocast(device.type, torch.bfloat16, enabled=arguments.precision == "bf16")
    shape, make = MODELS[arguments.model], Ragged if arguments.no_padding else Padded
    warm_up = WARM_UP_CUDA if device.type == "cuda" else WARM_UP
    strings = items(arguments.data, shape.context, warm_up + arguments.steps)
    batches = [make(batch, shape, device, groups) for batch in strings]
    model = Gpt(shape, fused).to(device).train()
    adamw = optimiser(model)
    options = dict(mode="reduce-overhead") if graph else dict(dynamic=arguments.no_padding)
    loss_of = torch.compile(model, **options) if compiled else model
    seconds, losses = [], []
    for batch in batches:
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        adamw.zero_grad(set_to_none=True)
        with rounded:
            loss = loss_of(batch)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        losses.append(loss.item())
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    seconds, counted = seconds[warm_up:], batches[warm_up:]
    if device.type == "cuda":
        peak_bytes = torch.cuda.max_memory_allocated()
    else:
        peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    speed = lambda count: statistics.median(count(b) / s for b, s in zip(counted, seconds))
    return {
        "torch": torch.__version__,
        "device": arguments.device,
        "precision": arguments.precision,
        "threads": torch.get_num_threads(),
        "padding": not arguments.no_padding,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": len(seconds),
        "documents": BATCH_DOCUMENTS,
        "positions": statistics.median(b.positions for b in counted),
        "tokens": statistics.median(b.real for b in counted),
        "step_seconds": statistics.median(seconds),
        "positions_per_second": speed(lambda b: b.positions),
        "tokens_per_second": speed(lambda b: b.real),
        "peak_bytes": peak_bytes,
        "first_loss_nats": losses[0],
        "last_loss_nats": losses[-1],
    }


class CharacterBlock(nn.Module):
    """A block as attnlab has it; nanoGPT's has no biases, and draws output projections smaller with depth."""

    def __init__(self, embed, heads):
        super().__init__()
        self.heads = heads
        self.ln1, self.ln2 = nn.LayerNorm(embed), nn.LayerNorm(embed)
        self.qkv, self.proj = nn.Linear(embed, 3 * embed), nn.Linear(embed, embed)
        self.expand, self.contract = nn.Linear(embed, 4 * embed), nn.Linear(4 * embed, embed)
        for layer in (self.qkv, self.proj, self.expand, self.contract):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x):
        split = lambda t: t.view(*t.shape[:2], self.heads, -1).transpose(1, 2)
        q, k, v = (split(t) for t in self.qkv(self.ln1(x)).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(x.shape))
        return x + self.contract(F.gelu(self.expand(self.ln2(x))))


class CharacterGpt(nn.Module):
    def __init__(self, vocabulary, layers=4, heads=4, embed=128, context=64):
        super().__init__()
        self.token, self.position = nn.Embedding(vocabulary, embed), nn.Embedding(context, embed)
        self.blocks = nn.Sequential(*(CharacterBlock(embed, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(embed), nn.Linear(embed, vocabulary, bias=False)
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=0.02)
        self.head.weight = self.token.weight

    def forward(self, tokens, targets):
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        logits = self.head(self.norm(self.blocks(x)))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def characters(arguments, compiled, steps=2_000, context=64, batch=12):
    """Trains nanoGPT's CPU form for some steps, and scores all complete windows of the held-out tenth."""
    torch.manual_seed(arguments.seed)
    text = Path(arguments.text or Path(arguments.data) / "wiki.txt").read_text(encoding="utf-8")
    ids = {c: i for i, c in enumerate(sorted(set(text)))}
    tokens = torch.tensor([ids[c] for c in text])
    train, held_out = tokens[: int(0.9 * len(tokens))], tokens[int(0.9 * len(tokens)) :]
    model = CharacterGpt(len(ids), context=context)
    biases = {name for name, _ in model.named_parameters() if name.endswith("bias")}
    decayed = [p for name, p in model.named_parameters() if name not in biases]
    others = [p for name, p in model.named_parameters() if name in biases]
    groups = [dict(params=decayed, weight_decay=0.1), dict(params=others, weight_decay=0.0)]
    adamw = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    loss_of = torch.compile(model) if compiled else model

    def rate(step, peak=1e-3, least=1e-4, warm_up=100, last=2_000):
        if step < warm_up:
            return peak * (step + 1) / (warm_up + 1)
        return least + 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (last - warm_up))) * (peak - least)

    started = time.perf_counter()
    for step in range(steps):
        starts = torch.randint(len(train) - context, (batch,))
        rows = torch.stack([train[i : i + context + 1] for i in starts])
        for group in adamw.param_groups:
            group["lr"] = rate(step)
        loss = loss_of(rows[:, :-1], rows[:, 1:])
        adamw.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
    seconds = time.perf_counter() - started
    windows = (len(held_out) - 1) // context
    rows = held_out[: windows * context + 1]
    tokens, targets = rows[:-1].view(-1, context), rows[1:].view(-1, context)
    with torch.no_grad():
        parts = [model(a, b).item() * len(a) for a, b in zip(tokens.split(256), targets.split(256))]
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "seconds": seconds,
        "step_seconds": seconds / steps,
        "held_out_loss_nats": sum(parts) / windows,
    }


# nanoGPT's README trains the CPU form without torch.compile.
CHARACTER_WAYS = {"eager": False, "compiled": True}


def in_a_process(arguments, way, steps):
    """Measures one variant in its own process: its result, or one line that says why it failed."""
    command = [sys.executable, __file__, arguments.data, "--device", arguments.device, "--way", way, "--json"]
    command += ["--model", arguments.model, "--precision", arguments.precision, "--steps", str(steps)]
    command += ["--no-padding"] * arguments.no_padding
    command += ["--threads", str(arguments.threads)] * (arguments.threads is not None)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no message"])[-1]
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="the folder that holds wiki.txt")
    parser.add_argument("--model", choices=MODELS, default="vanilla")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["f32", "tf32", "bf16"], default="f32", help="of matrix products")
    parser.add_argument("--threads", type=int, help="default: all that the CPU has")
    parser.add_argument("--steps", type=int, default=10, help="steps that count, after two to warm up")
    parser.add_argument("--no-padding", action="store_true", help="documents one after another")
    parser.add_argument("--way", help="one of the ways, as the results name them")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--recipe", choices=["step", "characters"], default="step", help="which recipe to train")
    parser.add_argument("--text", help="the text of --recipe characters; default: wiki.txt")
    parser.add_argument("--seed", type=int, default=1, help="random seed (only with --recipe characters)")
    arguments = parser.parse_args()
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    if arguments.recipe == "characters":
        if arguments.model != "vanilla":
            parser.error("--model is for --recipe step")
        if arguments.way not in (None, *CHARACTER_WAYS):
            parser.error(f"--way must be one of {'; '.join(CHARACTER_WAYS)}")
        way = arguments.way or "eager"
        report = characters(arguments, CHARACTER_WAYS[way]) | {"way": way}
        if arguments.json:
            print(json.dumps(report, indent=2))
        else:
            print(f"PyTorch {report['torch']}, {report['threads']} threads, {way}: {report['steps']} steps")
            print(f"training       {report['seconds']:.1f} s, {1e3 * report['step_seconds']:.2f} ms a step")
            print(f"held-out loss  {report['held_out_loss_nats']:.4f} nats a character")
        return
    ways = RAGGED_WAYS if arguments.no_padding else PADDED_WAYS
    if arguments.device == "cuda" and not arguments.no_padding:
        ways = ways | GRAPH_WAYS
    if arguments.steps < 1 or arguments.way not in (None, *ways):
        parser.error(f"--steps must be at least 1, and --way one of {'; '.join(ways)}")
    if not (Path(arguments.data) / "wiki.txt").is_file():
        parser.error(f"there is no wiki.txt in {arguments.data}")
    if arguments.model == "perceiver" and arguments.no_padding:
        parser.error("--no-padding does not support the Perceiver")
    if arguments.device == "cpu" and arguments.precision == "tf32":
        parser.error("--precision tf32 is for CUDA")

    tried, way = {}, arguments.way
    if way is None:
        for name in ways:
            result = in_a_process(arguments, name, TRIAL_STEPS)
            tried[name] = result if isinstance(result, str) else result["step_seconds"]
            print(f"tried {name}: {tried[name]}", file=sys.stderr)
        timed = {name: seconds for name, seconds in tried.items() if not isinstance(seconds, str)}
        if not timed:
            sys.exit("error: no way works")
        way = min(timed, key=timed.get)
        report = in_a_process(arguments, way, arguments.steps)
        if isinstance(report, str):
            sys.exit(f"error: {report}")
    else:
        report = measure(arguments, **ways[way])
    report |= {"way": way} | ({"tried": tried} if tried else {})
    if arguments.json:
        print(json.dumps(report, indent=2))
        return
    on = f"{report['device']} in {report['precision']}, {report['threads']} threads"
    print(f"PyTorch {report['torch']}, {on}: {way}")
    print(f"step    {1e3 * report['step_seconds']:.2f} ms   median of {report['steps']}")
    print(f"batch   {report['positions']:,.0f} positions, {report['tokens']:,.0f} real tokens")
    print(f"speed   {report['positions_per_second']:,.0f} positions/s, {report['tokens_per_second']:,.0f} tokens/s")
    print(f"memory  {report['peak_bytes'] / 1e6:,.0f} MB at most")


if __name__ == "__main__":
    main()
