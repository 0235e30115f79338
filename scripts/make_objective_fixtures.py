#!/usr/bin/env python3
"""Makes tests/fixtures/objectives.json: losses, gradients and metrics of every row and option of [objective], in float64.

They come from TRL's own code (1.16.0): `GRPOTrainer._compute_loss` and `RLOOTrainer._compute_loss` run on fixed tensors, without a
model, and the lines of `_generate_and_score_completions` that make advantages and importance-sampling ratios are run as they
stand there. What TRL has not is written from the published formula in torch, and named so: GSPO-token, GVPO, REINFORCE++, the
estimators k1 and k2, and GCPO's parts on top of other rows.

    pip install trl==1.16.0 && python3 scripts/make_objective_fixtures.py

The batches are shared by the cases. Arrays are [row][token], padded past lengths[row]; rows of a group are neighbours.
"""

import inspect
import json
import math
import pathlib
import random
import textwrap
from collections import defaultdict
from types import SimpleNamespace

import torch
import trl
from trl import GRPOConfig, GRPOTrainer, RLOOTrainer
from trl.trainer.utils import nanstd

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "objectives.json"
N = 3  # candidates of a prompt
PROMPTS = 2
LONGEST = 6  # max_completion_length
# One process.
same = lambda x, *a, **k: x
ACCELERATOR = SimpleNamespace(
    num_processes=1, sync_gradients=True, gather=same, gather_for_metrics=same, reduce=same, pad_across_processes=same
)
f64 = lambda x: torch.tensor(x, dtype=torch.float64)


def short(x):
    """A number that float32 holds, with few digits."""
    return round(x * 64) / 64


def make_batch(rng, spread):
    b, t = N * PROMPTS, 5
    old = [[short(-abs(rng.gauss(0, 1)) - 0.05) for _ in range(t)] for _ in range(b)]
    near = lambda rows, s: [[short(min(x + s * rng.gauss(0, 1), -1 / 64)) for x in row] for row in rows]
    return {
        "lengths": [5, 2, 4, 3, 5, 1],
        "truncated": [False, False, True, False, False, True],
        # Two rewards; the second does not apply to one completion, and none applies to another.
        "rewards": [[1.0, 0.5], [0.0, None], [1.0, -0.25], [0.0, 0.75], [None, None], [1.0, 0.125]],
        "reward_weights": [1.0, 0.5],
        "logp": near(old, spread),
        "logp_old": old,
        "logp_sampled": near(old, spread / 3),
        "logp_ref": near(old, spread),
        "entropy": [[short(abs(rng.gauss(0, 1))) for _ in range(t)] for _ in range(b)],
        "upsilon": [short(rng.uniform(-1, 2)) for _ in range(b)],
        "logp_x": near(old, spread),
        "pi_ref": [[short(rng.uniform(-0.1, 1.1)) for _ in range(t)] for _ in range(b)],
    }


def tensors(batch, options):
    """The batch as TRL's trainers have it."""
    lengths = torch.tensor(batch["lengths"])
    mask = (torch.arange(len(batch["logp"][0]))[None] < lengths[:, None]).long()
    if options.get("mask_truncated_completions"):
        mask = mask * (~torch.tensor(batch["truncated"]))[:, None].long()
    # What earns nothing is left out of our losses; TRL gives it an advantage of 0, and its tokens count.
    scored = torch.tensor([any(r is not None for r in rs) for rs in batch["rewards"]])
    return mask, scored


def lines(function, first, last, **names):
    """Runs the lines of a TRL method from the one that holds `first` up to the one that holds `last`."""
    source = inspect.getsource(function).splitlines()
    start = next(i for i, line in enumerate(source) if first in line)
    end = next(i for i, line in enumerate(source) if i > start and last in line)
    names.update(torch=torch, math=math, nanstd=nanstd)
    exec(textwrap.dedent("\n".join(source[start:end])), names)
    return names


def advantages(trainer_class, me, batch, **more):
    rewards = f64([[math.nan if r is None else r for r in rs] for rs in batch["rewards"]])
    me.reward_weights = f64(batch["reward_weights"])
    me.reward_funcs = [None] * rewards.shape[1]
    names = lines(
        trainer_class._generate_and_score_completions,
        "unscorable_mask = torch.isnan",
        "# Slice to keep only the local part",
        self=me, rewards_per_func=rewards, num_generations=N, device="cpu", gather=lambda x: x, **more,
    )
    return names["advantages"]


def stand_in(cls, batch, logp, entropy, **attributes):
    """A trainer without a model: what `_compute_loss` asks of it."""
    me = cls.__new__(cls)
    me.__dict__.update(
        accelerator=ACCELERATOR, model=SimpleNamespace(training=True), current_gradient_accumulation_steps=1,
        max_completion_length=LONGEST, aux_loss_enabled=False, _metrics={"train": defaultdict(list)},
        _get_per_token_logps_and_entropies=lambda *a, **k: (logp, entropy, None), **attributes,
    )
    return me


TRL_KEYS = {
    "beta", "epsilon", "epsilon_high", "delta", "importance_sampling_level", "scale_rewards", "use_bias_correction_kl",
    "mask_truncated_completions", "multi_objective_aggregation", "entropy_coef", "top_entropy_quantile",
    "off_policy_mask_threshold", "sapo_temperature_pos", "sapo_temperature_neg", "vespo_k_pos", "vespo_lambda_pos",
    "vespo_k_neg", "vespo_lambda_neg", "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
    "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min",
}
# Our rows where TRL's defaults are others.
OURS = {
    "dr_grpo": {"scale_rewards": "none"},
    "dapo": {"epsilon_high": 0.28},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    "luspo": {"importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
    "cispo": {"epsilon_high": 5.0},
    "reinforce_pp_baseline": {"loss_type": "grpo"},
}


def grpo_config(options):
    name = options["name"]
    if name == "gcpo":
        name = options.get("base", "grpo")
    given = {"loss_type": name, "use_bias_correction_kl": False, "vllm_importance_sampling_correction": False}
    given.update(OURS.get(name, {}))
    given.update({key: value for key, value in options.items() if key in TRL_KEYS})
    assert options["name"] == "gcpo" or set(options) <= TRL_KEYS | {"name"}, options
    return GRPOConfig(output_dir="/tmp/unused", report_to="none", bf16=False, use_cpu=True, **given)


def of_grpo(batch, options, weigh=None):
    """Loss, gradients and metrics of GRPOTrainer._compute_loss."""
    args = grpo_config(options)
    logp, entropy = f64(batch["logp"]).requires_grad_(), f64(batch["entropy"]).requires_grad_()
    corrects = args.vllm_importance_sampling_correction
    me = stand_in(
        GRPOTrainer, batch, logp, entropy, args=args, top_entropy_quantile=args.top_entropy_quantile,
        off_policy_mask_threshold=args.off_policy_mask_threshold,
        importance_sampling_level=args.importance_sampling_level, beta=args.beta, loss_type=args.loss_type,
        epsilon_low=args.epsilon, epsilon_high=args.epsilon if args.epsilon_high is None else args.epsilon_high,
        use_vllm=corrects, vllm_importance_sampling_correction=corrects,
        vllm_importance_sampling_mode=args.vllm_importance_sampling_mode,
        vllm_importance_sampling_clip_max=args.vllm_importance_sampling_clip_max,
        vllm_importance_sampling_clip_min=args.vllm_importance_sampling_clip_min, entropy_coef=args.entropy_coef,
        use_adaptive_entropy=False, _entropy_bonus_enabled=args.entropy_coef != 0.0,
        multi_objective_aggregation=args.multi_objective_aggregation, scale_rewards=args.scale_rewards,
    )
    mask, scored = tensors(batch, options)
    mask = mask * scored[:, None]
    args.steps_per_generation = 1
    advantage = advantages(GRPOTrainer, me, batch)
    expect = {"advantage": advantage.tolist()}
    if weigh is not None:
        advantage = advantage * weigh
    empty = torch.zeros((len(advantage), 0), dtype=torch.long)
    inputs = {
        "prompt_ids": empty, "prompt_mask": empty, "completion_ids": torch.zeros_like(mask), "completion_mask": mask,
        "advantages": advantage, "old_per_token_logps": f64(batch["logp_old"]),
        "ref_per_token_logps": f64(batch["logp_ref"]), "num_items_in_batch": mask.sum(),
    }
    if corrects:
        names = lines(
            GRPOTrainer._generate_and_score_completions, "per_token_logps_diff = (old_per_token_logps",
            "# Compute the per-token log probabilities for the reference model", self=me, mask=mask,
            old_per_token_logps=f64(batch["logp_old"]), sampling_per_token_logps=f64(batch["logp_sampled"]),
        )
        inputs["importance_sampling_ratio"] = names["vllm_importance_sampling_ratio"]
        inputs["sampling_per_token_logps"] = f64(batch["logp_sampled"])
    loss = me._compute_loss(me.model, inputs)
    return loss, (logp, entropy), expect, {key: values[0] for key, values in me._metrics["train"].items()}, mask


def trl_grpo(batch, options):
    loss, leaves, expect, metrics, _ = of_grpo(batch, options)
    return finish(expect, loss, leaves, metrics)


def finish(expect, loss, leaves, metrics):
    loss.backward()
    grads = [x.grad for x in leaves]
    expect["loss"] = loss.item()
    expect["grad_logp"] = grads[0].tolist()
    if grads[1] is not None:
        expect["grad_entropy"] = grads[1].tolist()
    if "kl" in metrics:
        expect["kl"] = metrics["kl"]
    if "clip_ratio/low_mean" in metrics:
        expect["clip"] = [metrics["clip_ratio/low_mean"], metrics["clip_ratio/high_mean"]]
    if "cispo_clip_ratio" in metrics:
        expect["clip"] = [0.0, metrics["cispo_clip_ratio"]]
    return expect


def trl_rloo(batch, options):
    """RLOOTrainer._compute_loss, and its advantages."""
    logp, entropy = f64(batch["logp"]).requires_grad_(), f64(batch["entropy"])
    beta = options.get("beta", 0.0)
    me = stand_in(
        RLOOTrainer, batch, logp, entropy, beta=beta, epsilon_low=options.get("epsilon", 0.2),
        epsilon_high=options.get("epsilon_high", options.get("epsilon", 0.2)), reward_clip_range=None,
        normalize_advantages=options.get("normalize_advantages", False),
    )
    mask, scored = tensors(batch, options)
    old, ref = f64(batch["logp_old"]), f64(batch["logp_ref"])
    advantage = advantages(
        RLOOTrainer, me, batch, old_per_token_logps=old, ref_per_token_logps=ref, completion_mask=mask
    )
    mask = mask * scored[:, None]
    empty = torch.zeros((len(advantage), 0), dtype=torch.long)
    loss = me._compute_loss(me.model, {
        "prompt_ids": empty, "prompt_mask": empty, "completion_ids": torch.zeros_like(mask), "completion_mask": mask,
        "advantages": advantage, "old_logps": (old * mask).sum(1),
    })
    # The clip metrics are of all completions there, of those in the loss here.
    return finish({"advantage": advantage.tolist()}, loss, (logp, entropy), {})


def group_rewards(batch):
    """Weighted sums, NaN where no reward applies."""
    rewards = []
    for values in batch["rewards"]:
        parts = [w * r for w, r in zip(batch["reward_weights"], values) if r is not None]
        rewards.append(sum(parts) if parts else math.nan)
    return f64(rewards)


def formula(batch, options):
    """What TRL has not, from the published formula."""
    name = options["name"]
    logp = f64(batch["logp"]).requires_grad_()
    old, ref = f64(batch["logp_old"]), f64(batch["logp_ref"])
    mask, scored = tensors(batch, options)
    mask = (mask * scored[:, None]).double()
    rewards = group_rewards(batch)
    beta, estimator = options.get("beta", 0.0), options.get("kl_estimator")
    x = ref - logp
    kls = {"k1": -x, "k2": x**2 / 2, "k3": torch.exp(x) - x - 1}
    lengths = mask.sum(1).clamp(min=1)
    per_sequence = lambda v: ((v * mask).sum(1) / lengths).mean()
    clip = lambda r, low, high, a: torch.min(r * a, r.clamp(1 - low, 1 + high) * a)
    mean = torch.nanmean(rewards.view(-1, N), 1).repeat_interleave(N)
    if name == "gvpo":
        scale, loss = options.get("beta", 0.1), 0.0
        implicit = scale * ((logp - old) * mask).sum(1)
        for at in range(0, len(rewards), N):
            kept = [i for i in range(at, at + N) if not math.isnan(rewards[i])]
            r = rewards[kept] - rewards[kept].mean()
            big = implicit[kept] - implicit[kept].mean()
            loss = loss + ((big - r) ** 2).sum() / (2 * (len(kept) - 1))
        advantage = rewards - mean
        return finish({"advantage": torch.nan_to_num(advantage).tolist()}, loss / PROMPTS, (logp, f64(0.0)), {})
    if name == "gspo_token":
        advantage = torch.nan_to_num((rewards - mean) / (nanstd(rewards.view(-1, N), 1).repeat_interleave(N) + 1e-4))
        s = torch.exp(((logp - old) * mask).sum(1) / lengths).detach()[:, None] * torch.exp(logp - logp.detach())
        value = clip(s, 3e-4, 4e-4, advantage[:, None])
    else:  # REINFORCE++, and other estimators with GRPO
        if name == "reinforce_pp" and options.get("use_kl_in_reward"):
            # A_t = r − β Σ_{i ≥ t} KL(i), normalised over the tokens of the batch.
            own = ref - old
            own = {"k1": -own, "k2": own**2 / 2, "k3": torch.exp(own) - own - 1}[estimator or "k1"] * mask
            to_come = own.flip(1).cumsum(1).flip(1)
            returns = (rewards[:, None] - beta * to_come)
            counted = returns[mask.bool()]
            advantage = torch.where(mask.bool(), (returns - counted.mean()) / (counted.std() + 1e-4), 0.0)
        elif name == "reinforce_pp":
            advantage = (rewards - torch.nanmean(rewards)) / (nanstd(rewards) + 1e-4)
        elif name == "reinforce_pp_baseline":
            advantage = rewards - mean
            advantage = (advantage - torch.nanmean(advantage)) / (nanstd(advantage) + 1e-4)
        else:
            if options.get("use_kl_in_reward"):
                own = ref - old
                own = {"k1": -own, "k2": own**2 / 2, "k3": torch.exp(own) - own - 1}[estimator]
                rewards = rewards - beta * (own * mask).sum(1)
                mean = torch.nanmean(rewards.view(-1, N), 1).repeat_interleave(N)
            advantage = (rewards - mean) / (nanstd(rewards.view(-1, N), 1).repeat_interleave(N) + 1e-4)
        advantage = torch.nan_to_num(advantage)
        advantage = advantage if advantage.ndim == 2 else advantage[:, None]
        value = clip(torch.exp(logp - old), 0.2, 0.2, advantage)
    if beta and not options.get("use_kl_in_reward"):
        value = value - beta * kls[estimator or ("k2" if name.startswith("reinforce") else "k3")]
    return finish({"advantage": advantage.flatten().tolist()}, -per_sequence(value), (logp, f64(0.0)), {})


def causal(batch, options):
    """GCPO on top of TRL's loss of another row: advantages times Υ, and the second KL term averaged as the row does (eqs. 10 to 13)."""
    upsilon = f64(batch["upsilon"])
    loss, leaves, expect, metrics, mask = of_grpo(batch, options, upsilon)
    logp_x = f64(batch["logp_x"]).requires_grad_()
    pi_ref = f64(batch["pi_ref"]).clamp(1e-6, 1)
    rho = (pi_ref / logp_x.exp()).clamp(1 / 10, 10)
    k = (rho - rho.log() - 1) * mask
    lengths = mask.sum(1).clamp(min=1)
    averages = {
        "dr_grpo": k.sum() / (len(k) * LONGEST), "dapo": k.sum() / mask.sum(), "bnpo": k.sum() / mask.sum(),
        "cispo": k.sum() / mask.sum(), "grpo": (k.sum(1) / lengths).mean(), "sapo": (k.sum(1) / lengths).mean(),
    }
    loss = loss + options.get("kappa", 0.06) * averages[options["base"]]
    expect = finish(expect, loss, leaves, metrics)
    expect["grad_logp_x"] = logp_x.grad.tolist()
    return expect


ROWS = ["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "luspo", "cispo", "sapo", "vespo"]


def row_cases():
    for name in ROWS:
        yield trl_grpo, {"name": name}
        yield trl_grpo, {"name": name, "beta": 0.04}
        yield trl_grpo, {"name": name, "beta": 0.04, "use_bias_correction_kl": True}
        yield trl_grpo, {"name": name, "mask_truncated_completions": True}
    for name in ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo"]:
        yield trl_grpo, {"name": name, "importance_sampling_level": "sequence"}
    yield trl_grpo, {"name": "luspo", "importance_sampling_level": "token", "epsilon": 0.2, "epsilon_high": 0.2}
    for name in ["grpo", "dapo", "gspo"]:
        yield trl_grpo, {"name": name, "epsilon": 0.1, "epsilon_high": 0.3, "delta": 1.5}
    yield trl_grpo, {"name": "cispo", "epsilon_high": 1.2}
    yield trl_grpo, {"name": "sapo", "sapo_temperature_pos": 2.0, "sapo_temperature_neg": 0.5}
    yield trl_grpo, {"name": "vespo", "vespo_k_pos": 1.0, "vespo_lambda_pos": 2.0, "vespo_k_neg": 2.5, "vespo_lambda_neg": 1.5}
    for name in ["grpo", "dr_grpo", "sapo"]:
        for scale in ["group", "batch", "none"]:
            yield trl_grpo, {"name": name, "scale_rewards": scale}
    yield trl_rloo, {"name": "rloo"}
    yield trl_rloo, {"name": "rloo", "beta": 0.05}
    yield trl_rloo, {"name": "rloo", "beta": 0.05, "normalize_advantages": True}
    yield trl_rloo, {"name": "rloo", "epsilon": 0.1, "epsilon_high": 0.3, "normalize_advantages": True}
    for beta in [0.1, 1.0]:
        yield formula, {"name": "gvpo", "beta": beta}
    yield formula, {"name": "gspo_token"}
    yield formula, {"name": "gspo_token", "beta": 0.04}
    for name in ["reinforce_pp", "reinforce_pp_baseline"]:
        yield formula, {"name": name}
        yield formula, {"name": name, "beta": 0.04}
    yield formula, {"name": "reinforce_pp", "beta": 0.04, "use_kl_in_reward": True}
    for estimator in ["k1", "k2", "k3"]:
        yield formula, {"name": "reinforce_pp", "beta": 0.4, "kl_estimator": estimator, "use_kl_in_reward": True}
        yield formula, {"name": "grpo", "beta": 0.04, "kl_estimator": estimator}
        yield formula, {"name": "grpo", "beta": 0.04, "kl_estimator": estimator, "use_kl_in_reward": True}
    for base in ["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo"]:
        yield causal, {"name": "gcpo", "base": base, "beta": 0.04}


def option_cases():
    for name in ROWS:
        yield trl_grpo, {"name": name, "entropy_coef": 0.05}
        yield trl_grpo, {"name": name, "top_entropy_quantile": 0.4, "beta": 0.04}
        yield trl_grpo, {"name": name, "off_policy_mask_threshold": 0.05}
        modes = ["token_truncate", "token_mask"]
        modes += ["sequence_truncate", "sequence_mask"] if name != "vespo" else []
        for mode in modes:
            yield trl_grpo, {
                "name": name, "vllm_importance_sampling_correction": True, "vllm_importance_sampling_mode": mode,
                "vllm_importance_sampling_clip_max": 1.25, "vllm_importance_sampling_clip_min": 0.8, "beta": 0.04,
            }
    yield trl_grpo, {"name": "dapo", "entropy_coef": 0.05, "top_entropy_quantile": 0.2, "mask_truncated_completions": True}
    yield trl_grpo, {
        "name": "grpo", "vllm_importance_sampling_correction": True, "off_policy_mask_threshold": 0.05,
        "vllm_importance_sampling_mode": "sequence_mask", "vllm_importance_sampling_clip_max": 2.0,
    }
    for name in ["grpo", "dr_grpo", "gspo", "cispo"]:
        yield trl_grpo, {"name": name, "multi_objective_aggregation": "normalize_then_sum"}


def main():
    assert trl.__version__ == "1.16.0", trl.__version__
    rng = random.Random(20251130)
    batches = [make_batch(rng, 0.2), make_batch(rng, 1.0)]
    cases = []
    for make, options in [*row_cases(), *option_cases()]:
        for at, batch in enumerate(batches):
            cases.append({"from": make.__name__, "objective": options, "batch": at, "expect": make(batch, options)})
    trim = lambda x: [trim(y) for y in x] if isinstance(x, list) else round(x, 9)
    for case in cases:
        case["expect"] = {key: trim(value) for key, value in case["expect"].items()}
    about = "Objectives, float64, from scripts/make_objective_fixtures.py, which tells the layout."
    text = json.dumps({"about": about, "trl": trl.__version__, "longest": LONGEST, "batches": batches, "cases": cases})
    OUT.write_text(text + "\n")
    print(f"{OUT}: {len(cases)} cases, {len(text)} bytes")


if __name__ == "__main__":
    main()
