#!/usr/bin/env python3
"""Effects in factorial designs by statsmodels, with which the tests of metrics::statistics::factorial compare ours.

    python3 -m venv VENV && VENV/bin/pip install statsmodels pandas
    VENV/bin/python scripts/factorial_reference.py > tests/golden/factorial_statsmodels.json

A contrast is formed from predictions: the mean of those for all combinations of the other factors and of the blocks, at
one level minus at the first. Nothing but the model is shared with the program.
"""

import itertools
import json
import random

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from patsy import build_design_matrices
from scipy import stats


def formula(factors, blocks, has_interactions):
    coded = [f"C(f{i}, Sum)" for i in range(factors)]
    terms = list(coded)
    if blocks > 1:
        terms.append("C(block, Sum)")
    if has_interactions:
        terms += [f"{a}:{b}" for a, b in itertools.combinations(coded, 2)]
    return "y ~ " + " + ".join(terms)


def averaged(info, levels, blocks, fixed):
    """The mean row of the design matrix over all combinations in which these factors have these levels."""
    ranges = [[fixed[i]] if i in fixed else range(count) for i, count in enumerate(levels)]
    cells = list(itertools.product(*ranges, range(blocks)))
    frame = pd.DataFrame(cells, columns=[f"f{i}" for i in range(len(levels))] + ["block"])
    return np.asarray(build_design_matrices([info], frame)[0]).mean(axis=0)


def case(name, levels, runs, blocks, has_interactions, seed):
    draw = random.Random(seed)
    size = [[draw.gauss(0, 0.1) for _ in range(count)] for count in levels]
    values = [
        0.5 + sum(size[i][level] for i, level in enumerate(run)) + 0.03 * block + draw.gauss(0, 0.02)
        for run, block in zip(runs, blocks)
    ]
    count = max(blocks) + 1
    frame = pd.DataFrame(runs, columns=[f"f{i}" for i in range(len(levels))])
    frame["block"], frame["y"] = blocks, values
    fitted = smf.ols(formula(len(levels), count, has_interactions), frame).fit()
    info = fitted.model.data.model_spec
    row = lambda fixed: averaged(info, levels, count, fixed)
    contrasts = []
    for f, levels_of in enumerate(levels):
        for level in range(1, levels_of):
            contrasts.append(([f], [level], row({f: level}) - row({f: 0})))
    pairs = itertools.combinations(range(len(levels)), 2) if has_interactions else []
    for a, b in pairs:
        for i, j in itertools.product(range(1, levels[a]), range(1, levels[b])):
            after = row({a: i, b: j}) - row({a: 0, b: j})
            before = row({a: i, b: 0}) - row({a: 0, b: 0})
            contrasts.append(([a, b], [i, j], after - before))
    effects = []
    joint = stats.t.ppf(1 - 0.025 / len(contrasts), fitted.df_resid)
    for factors, own, contrast in contrasts:
        test = fitted.t_test(contrast)
        estimate, error = float(test.effect[0]), float(test.sd[0, 0])
        low, high = (float(end) for end in test.conf_int(0.05)[0])
        effects.append({
            "factors": factors,
            "levels": own,
            "estimate": estimate,
            "standard_error": error,
            "own_95": [low, high],
            "joint_95": [estimate - joint * error, estimate + joint * error],
        })
    return {
        "name": name,
        "levels": levels,
        "runs": runs,
        "blocks": blocks,
        "values": values,
        "has_interactions": has_interactions,
        "freedom": int(fitted.df_resid),
        "residual_deviation": float(np.sqrt(fitted.mse_resid)),
        "effects": effects,
    }


def crossed(points, seeds):
    pairs = [(list(point), seed) for point in points for seed in range(seeds)]
    return [point for point, _ in pairs], [seed for _, seed in pairs]


def grid(levels):
    return list(itertools.product(*(range(count) for count in levels)))


def thinned(runs, blocks, keep):
    kept = [i for i in range(len(runs)) if i not in keep]
    return [runs[i] for i in kept], [blocks[i] for i in kept]


def half_fraction(factors):
    """Every setting of all factors but the last, which is their product: 2^(k-1) with the highest resolution."""
    return [(*point, (sum(point) + factors - 1) % 2) for point in grid([2] * (factors - 1))]


cube, mixed = grid([2, 2, 2]), grid([2, 3, 2])
CASES = [
    case("2^3 with 3 seeds", [2, 2, 2], *crossed(cube, 3), True, 1),
    case("2^3 with 1 seed", [2, 2, 2], *crossed(cube, 1), True, 2),
    case("2 x 3 x 2 with 2 seeds", [2, 3, 2], *crossed(mixed, 2), True, 3),
    case("2 x 3 x 2 with 2 seeds and 5 runs missing", [2, 3, 2],
         *thinned(*crossed(mixed, 2), {0, 5, 6, 13, 22}), True, 4),
    case("2^(5-1) with 2 seeds", [2] * 5, *crossed(half_fraction(5), 2), True, 5),
    case("9 of 4 x 3 x 2, main effects alone", [4, 3, 2],
         *crossed([grid([4, 3, 2])[i] for i in (0, 3, 7, 8, 11, 14, 16, 19, 21)], 1), False, 6),
]
print(json.dumps(CASES, indent=None, separators=(",", ":")).replace('},{"name"', '},\n{"name"'))
