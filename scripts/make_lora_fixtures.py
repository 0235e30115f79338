#!/usr/bin/env python3
"""Adapters between PEFT and gcpo, both ways.

    pip install torch transformers peft safetensors
    python3 scripts/make_lora_fixtures.py [NAME…]                 # rewrites model/tests/fixtures/lora_*/, or some of them
    python3 scripts/make_lora_fixtures.py check BASE ADAPTER MERGED SCORES.jsonl

Without arguments: PEFT puts random adapters on the tiny checkpoints of make_model_fixtures.py and saves them, with what it computes of
them. Each directory is a PEFT directory and has `expected.safetensors`:
    ids [b, t]; logits [b, t, v]; logits_merged [b, t, v] of merge_and_unload()
    loss []: mean cross-entropy of every token given those before it
    grad.MODULE.lora_{A,B,magnitude_vector}: gradients of the factors

`check` loads an adapter that gcpo wrote (a run's checkpoints/step-N) into PEFT and compares log-probabilities with what
`gcpo score --model BASE --adapter ADAPTER --json` printed, and those of the merged directory that `gcpo merge` wrote.

Made with torch 2.15, transformers 5.24 and peft 0.21, `lora_phi4_mini` with torch 2.9.1 and 5.23, `lora_dora*` with
torch 2.9.1, 5.23 and peft 0.18.
"""

import json
import pathlib
import shutil
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

FIXTURES = pathlib.Path(__file__).parent.parent / "model" / "tests" / "fixtures"
CASES = {
    # Two targets, the default of PEFT, by rank-stabilised scale.
    "lora_untied": ("untied", dict(r=2, lora_alpha=3, target_modules=["q_proj", "v_proj"], use_rslora=True)),
    # Every linear layer but the head, beside biases.
    "lora_qwen2": ("qwen2", dict(r=3, lora_alpha=16, target_modules="all-linear")),
    # Fused matrices.
    "lora_phi4_mini": ("phi4_mini", dict(r=2, lora_alpha=4, target_modules="all-linear")),
    # DoRA, without biases and beside them.
    "lora_dora": ("untied", dict(r=2, lora_alpha=3, target_modules=["q_proj", "o_proj", "down_proj"], use_dora=True)),
    "lora_dora_qwen2": ("qwen2", dict(r=2, lora_alpha=8, target_modules=["q_proj", "v_proj"], use_dora=True)),
}


def load(path):
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")


def make(name, base, config, seed):
    path = FIXTURES / name
    shutil.rmtree(path, ignore_errors=True)
    model = get_peft_model(load(FIXTURES / base), LoraConfig(task_type="CAUSAL_LM", **config))
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            noise = 0.3 * torch.randn(parameter.shape, generator=generator)
            # Magnitudes are lengths: they stay near those of the base.
            parameter.data = parameter.data * (1 + noise) if "magnitude" in key else noise
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(path)
    (path / "README.md").unlink(missing_ok=True)
    ids = torch.randint(3, 64, (2, 7), generator=generator)
    model.train()
    logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    out = {"ids": ids, "logits": logits.detach().contiguous(), "loss": loss.detach()}
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            key = key.removeprefix("base_model.model.").removesuffix(".default.weight")
            out[f"grad.{key}"] = parameter.grad.contiguous()
    with torch.no_grad():
        out["logits_merged"] = model.merge_and_unload()(input_ids=ids, use_cache=False).logits.contiguous()
    save_file(out, path / "expected.safetensors")
    for file in path.iterdir():
        file.chmod(0o644)
    print(name, sum(file.stat().st_size for file in path.iterdir()), "bytes")


def check(base, adapter, merged, scores):
    adapted = PeftModel.from_pretrained(load(base), adapter).eval()
    merged = load(merged).eval()
    worst = {"adapter": 0.0, "merged": 0.0}
    for line in open(scores):
        row = json.loads(line)
        ids = torch.tensor([row["ids"]])
        for name, model in [("adapter", adapted), ("merged", merged)]:
            with torch.no_grad():
                logp = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
            error = (logp - torch.tensor(row["logprobs"][1:])).abs().max().item()
            worst[name] = max(worst[name], error)
    moved = max(p.abs().max().item() for n, p in adapted.named_parameters() if "lora_B" in n)
    print(f"largest |Δ log p| to gcpo: adapter in PEFT {worst['adapter']:.2e}, merged in transformers {worst['merged']:.2e}")
    print(f"largest number in B: {moved:.2e}")
    assert moved > 0 and max(worst.values()) < 1e-4


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(*sys.argv[2:])
    else:
        for seed, (name, (base, config)) in enumerate(CASES.items()):
            if name in (sys.argv[1:] or CASES):
                make(name, base, config, seed)
