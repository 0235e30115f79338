#!/usr/bin/env python3
"""Makes tests/fixtures/gcpo_objective.json: GCPO's objective in float64, in plain Python.

Written from the formulas of Gu et al. (arXiv 2508.05428), one token at a time, without a look at
the Rust code. Gradients are derived by hand and checked against torch's autograd where torch is
installed. Arrays are [candidate][token], padded past lengths[i]; Z is
[candidate][integration][sample][feature]; p_q is exp(logp_old).

    python3 scripts/make_objective_goldens.py
"""

import json
import math
import pathlib
import random

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "gcpo_objective.json"
EPS_A = 1e-4


def mean(values):
    return math.fsum(values) / len(values)


def vector_mean(vectors):
    return [mean(column) for column in zip(*vectors)]


def similarity(kind, a, b):
    d = len(a)
    square = math.fsum((x - y) ** 2 for x, y in zip(a, b))
    if kind == "euclidean":
        return 1 / (1 + math.sqrt(square) / math.sqrt(d))
    if kind == "gaussian":
        return math.exp(-square / (2 * d))
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(y * y for y in b))
    return 0.0 if norms == 0 else math.fsum(x * y for x, y in zip(a, b)) / norms


def expect(case):
    n, h = case["n"], case["hyper"]
    width = len(case["logp"][0])
    rewards = case["rewards"]
    centre = mean(rewards)
    std = math.sqrt(math.fsum((r - centre) ** 2 for r in rewards) / (n - 1))
    advantage = [(r - centre) / (std + EPS_A) for r in rewards]
    if len(set(rewards)) == 1:
        advantage = [0.0] * n

    z_bar = vector_mean(case["z"])
    upsilon = []
    for i in range(n):
        first = vector_mean(case["Z"][i][0])
        every = vector_mean([vector_mean(samples) for samples in case["Z"][i]])
        target = [f - e + m for f, e, m in zip(first, every, z_bar)]
        upsilon.append(h["alpha"] * similarity(h["similarity"], case["z"][i], target))
    b = [a * u for a, u in zip(advantage, upsilon)]

    grid = lambda: [[0.0] * width for _ in range(n)]
    pi_ref, kl, klp, g, gx = grid(), grid(), grid(), grid(), grid()
    clamped, total = 0, 0
    for i in range(n):
        length = case["lengths"][i]
        weight = 1 / (n * length)
        for t in range(length):
            lp, old = case["logp"][i][t], case["logp_old"][i][t]
            ref, lx = case["logp_ref"][i][t], case["logp_x"][i][t]

            # Surrogate and its derivative: R·B where the minimum is not the clipped branch.
            ratio = math.exp(lp - old)
            low, high = 1 - h["epsilon_low"], 1 + h["epsilon_high"]
            is_clipped = (b[i] > 0 and ratio > high) or (b[i] < 0 and ratio < low)
            value = min(max(ratio, low), high) * b[i] if is_clipped else ratio * b[i]
            slope = 0.0 if is_clipped else ratio * b[i]

            # K = e^x − x − 1 with x = ref − lp, so dK/dlp = 1 − e^x.
            x = ref - lp
            kl[i][t] = math.exp(x) - x - 1
            slope -= h["beta"] * (1 - math.exp(x))

            p_x_l = [case["p_x_l"][i][l][t] for l in range(case["integrations"])]
            raw = p_x_l[0] - mean(p_x_l) + math.exp(old)
            pi_ref[i][t] = raw  # as eq. 13 has it: before the clamp
            floored = min(max(raw, h["floor"]), 1.0)
            rho = floored / math.exp(lx)
            bounded = min(max(rho, 1 / h["ratio_max"]), h["ratio_max"])
            klp[i][t] = bounded - math.log(bounded) - 1
            slope_x = -h["kappa"] * (1 - rho) if bounded == rho else 0.0

            clamped += floored != raw or bounded != rho
            total += 1
            case["_loss"] = case.get("_loss", 0.0) - weight * (
                value - h["beta"] * kl[i][t] - h["kappa"] * klp[i][t]
            )
            g[i][t] = -weight * slope
            gx[i][t] = -weight * slope_x
    return {
        "advantage": advantage,
        "upsilon": upsilon,
        "b": b,
        "pi_ref": pi_ref,
        "kl": kl,
        "kl_projected": klp,
        "clamped_frac": clamped / total,
        "loss": case.pop("_loss"),
        "grad_logp": g,
        "grad_logp_x": gx,
    }


def check_with_torch(case):
    """The hand-derived gradients against autograd."""
    try:
        import torch
    except ImportError:
        return
    h, e = case["hyper"], case["expect"]
    f64 = lambda x: torch.tensor(x, dtype=torch.float64)
    lp, lx = f64(case["logp"]).requires_grad_(), f64(case["logp_x"]).requires_grad_()
    lengths = torch.tensor(case["lengths"])
    keep = torch.arange(lp.shape[1])[None] < lengths[:, None]
    b = f64(e["b"])[:, None]
    ratio = torch.exp(lp - f64(case["logp_old"]))
    clipped = ratio.clamp(1 - h["epsilon_low"], 1 + h["epsilon_high"])
    x = f64(case["logp_ref"]) - lp
    pi_ref = torch.where(keep, f64(e["pi_ref"]).clamp(h["floor"], 1), torch.ones_like(lp))
    rho = (pi_ref / lx.exp()).clamp(1 / h["ratio_max"], h["ratio_max"])
    value = torch.minimum(ratio * b, clipped * b)
    value = value - h["beta"] * (x.exp() - x - 1) - h["kappa"] * (rho - rho.log() - 1)
    loss = -(torch.where(keep, value, 0.0).sum(1) / lengths).mean()
    loss.backward()
    for got, expected in ((loss, e["loss"]), (lp.grad, e["grad_logp"]), (lx.grad, e["grad_logp_x"])):
        worst = (got.detach() - f64(expected)).abs().max().item()
        assert worst < 1e-12, worst


def make(rng, n, integrations, samples, kind, rewards, spread, hyper):
    lengths = [rng.randint(1, 6) for _ in range(n)]
    width, d = max(lengths) + rng.randint(0, 2), 5
    normal = lambda: rng.gauss(0.0, 1.0)
    logp_of = lambda: [[-abs(normal()) - 1e-3 for _ in range(width)] for _ in range(n)]
    near = lambda rows: [[min(x + spread * normal(), -1e-3) for x in row] for row in rows]
    old = logp_of()
    case = {
        "n": n,
        "integrations": integrations,
        "samples": samples,
        "lengths": lengths,
        "hyper": {
            "alpha": 2.0, "kappa": 0.06, "beta": 0.04, "epsilon_low": 0.2, "epsilon_high": 0.2,
            "floor": 1e-6, "ratio_max": 10.0, "similarity": kind, **hyper,
        },
        "rewards": rewards,
        "z": [[normal() for _ in range(d)] for _ in range(n)],
        "Z": [[[[normal() for _ in range(d)] for _ in range(samples)]
               for _ in range(integrations)] for _ in range(n)],
        "logp": near(old),
        "logp_old": old,
        "logp_ref": near(old),
        "p_x_l": [[[rng.random() ** 2 for _ in range(width)] for _ in range(integrations)]
                  for _ in range(n)],
        "logp_x": near(old),
    }
    return case


def main():
    rng = random.Random(20250807)
    spec = [
        (4, 4, 4, "cosine", [1.0, 0.0, 0.0, 1.0], 0.3, {}),
        (4, 3, 2, "euclidean", [0.25, 1.0, 0.5, -1.0], 0.5, {"alpha": 1.4}),
        (3, 3, 1, "gaussian", [2.0, -1.0, 0.5], 0.3, {"kappa": 0.5}),
        # A flat group whose mean is no float: the advantage is exactly 0 nevertheless.
        (3, 2, 2, "cosine", [0.1, 0.1, 0.1], 0.3, {}),
        # Asymmetric clip, far from the old policy: both branches are hit.
        (5, 2, 2, "cosine", [1.0, 0.0, 1.0, 0.0, 0.0], 1.0,
         {"epsilon_low": 0.1, "epsilon_high": 0.28}),
        # Tight clamps: most tokens are outside.
        (4, 4, 1, "cosine", [0.0, 0.0, 0.0, 1.0], 1.0, {"ratio_max": 1.5, "floor": 0.05}),
        # One integration: nothing to average over.
        (3, 1, 2, "cosine", [1.0, 0.0, 0.0], 0.3, {}),
        (2, 2, 2, "gaussian", [1.0, 0.0], 0.3, {"beta": 0.0}),
    ]
    cases = [make(rng, *row) for row in spec]
    # A candidate whose representation is the zero vector.
    cases[0]["z"][2] = [0.0] * len(cases[0]["z"][2])
    for case in cases:
        case["expect"] = expect(case)
        check_with_torch(case)
    about = "GCPO objective, float64, from scripts/make_objective_goldens.py, which tells the layout."
    text = json.dumps({"about": about, "cases": cases})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text + "\n")
    shares = [f"{case['expect']['clamped_frac']:.2f}" for case in cases]
    print(f"{OUT}: {len(cases)} cases, {len(text)} bytes, clamped {' '.join(shares)}")


if __name__ == "__main__":
    main()
