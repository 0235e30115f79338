#!/usr/bin/env python3
"""Makes the truth that gcpo-model is tested against: tiny random checkpoints of each family, written by transformers,
with the logits and gradients that transformers computes for them.

    pip install torch transformers safetensors
    python3 scripts/make_model_fixtures.py [NAME…]  # rewrites model/tests/fixtures/, or some of it

    GCPO_SAVED=/tmp/saved cargo test --workspace --test checkpoint what_is_saved
    python3 scripts/make_model_fixtures.py --read /tmp/saved    # what gcpo saved of them has the same logits in transformers

Made with torch 2.15 and transformers 5.24 (the first four with 5.23), those from `mistral` on with torch 2.9.1 and 5.23. Each directory holds a Hugging Face checkpoint and `expected.safetensors`:
    lengths [b]; ids_{right,left} [b, t]; logits_{right,left} [b, t, v] (meaningless at filling)
    loss []: mean cross-entropy of every token given those before it, over the real tokens that have one before them
    grad.NAME: its gradient for every parameter
    greedy [12]: the tokens that `generate` gives after the first row, each the likeliest
"""

import json
import pathlib
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    SmolLM3Config,
    SmolLM3ForCausalLM,
)

FIXTURES = pathlib.Path(__file__).parent.parent / "model" / "tests" / "fixtures"
SHAPE = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    attn_implementation="eager",
)
SMALL = SHAPE | dict(hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
# Two layers of a small one: where layers differ.
PAIR = SMALL | dict(num_hidden_layers=2, num_key_value_heads=1)
LENGTHS = [9, 4, 1, 7]
# No token ends a text that is compared.
GREEDY = dict(do_sample=False, max_new_tokens=12, min_new_tokens=12, eos_token_id=None, pad_token_id=0)


def randomise(model, seed):
    """Weights large enough to make attention and norms matter, no bias 0 and no norm 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        parameter.data = 1 + 0.2 * noise if "norm" in name else 0.3 * noise


def expect(model, path, seed, greedy):
    generator = torch.Generator().manual_seed(seed)
    width = max(LENGTHS)
    rows = [torch.randint(3, 64, (n,), generator=generator) for n in LENGTHS]
    out = {"lengths": torch.tensor(LENGTHS)}
    grads = {}
    for side in ["right", "left"]:
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, (to, to_mask) in zip(rows, zip(ids, mask)):
            at = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
            to[at], to_mask[at] = row, 1
        # As generate() sets them.
        positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
        model.zero_grad()
        logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        counts = (mask[:, 1:] * mask[:, :-1]).bool()
        loss = torch.nn.functional.cross_entropy(logits[:, :-1][counts], ids[:, 1:][counts])
        loss.backward()
        out[f"ids_{side}"] = ids
        out[f"logits_{side}"] = logits.detach().contiguous()
        grads[side] = {name: p.grad.clone() for name, p in model.named_parameters()}
    for name in grads["left"]:
        assert torch.allclose(grads["left"][name], grads["right"][name], atol=1e-6), name
    if greedy:
        out["greedy"] = model.generate(rows[0][None], **GREEDY)[0, len(rows[0]) :]
    out["loss"] = loss.detach()
    out |= {f"grad.{name}": grad.contiguous() for name, grad in as_in_files(grads["right"]).items()}
    save_file(out, path / "expected.safetensors")


def as_in_files(tensors):
    """Experts one by one, as files have them; in transformers 5 a layer's are one tensor."""
    out = {}
    for name, tensor in tensors.items():
        before, _, leaf = name.rpartition(".")
        if not before.endswith(".experts"):
            out[name] = tensor
            continue
        for number, expert in enumerate(tensor):
            parts = dict(zip(["gate_proj", "up_proj"], expert.chunk(2))) if leaf == "gate_up_proj" else {leaf: expert}
            out |= {f"{before}.{number}.{part}.weight": grad for part, grad in parts.items()}
    return out


def make(name, model, seed, dtype=torch.float32, greedy=False, **save):
    path = FIXTURES / name
    shutil.rmtree(path, ignore_errors=True)
    randomise(model, seed)
    model.to(dtype).save_pretrained(path, **save)
    expect_as_read(model, path, seed + 100, greedy)
    return path


def expect_as_read(model, path, seed, greedy=False):
    # Read again: a cast to bf16 and back would have rounded the rotary frequencies too.
    model = type(model).from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    expect(model.eval(), path, seed, greedy)
    return model


def edit(path, change):
    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def make_untied(seed):
    """A head of its own under `tie_word_embeddings: true`: transformers unties, and says so. And a window that begins
    behind the last layer."""
    model = Qwen2ForCausalLM(Qwen2Config(**SMALL))
    path = make("untied", model, seed)
    unused = dict(use_sliding_window=True, sliding_window=16, max_window_layers=1)
    edit(path, lambda config: config.pop("layer_types") and config.update(tie_word_embeddings=True, **unused))
    model = expect_as_read(model, path, seed + 100)
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()


def make_lenient(seed):
    """What transformers reads though it is not how it writes: f64, names without `model.`, a tied head and rotary
    frequencies in shards whose index does not list them, fields at the top of config.json or left to their defaults."""
    scaling = dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
    rope = scaling | dict(rope_type="llama3", rope_theta=500.0, original_max_position_embeddings=64)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, tie_word_embeddings=True, rope_parameters=rope))
    path = make("lenient", model, seed)
    (path / "model.safetensors").unlink()
    weights = {name.removeprefix("model."): tensor.double() for name, tensor in model.state_dict().items()}
    head = weights.pop("lm_head.weight").clone()
    names = sorted(weights)
    shards = [{name: weights[name] for name in part} for part in [names[:5], names[5:]]]
    files = [f"model-{number:05}-of-00002.safetensors" for number in [1, 2]]
    index = {name: file for file, shard in zip(files, shards) for name in shard}
    shards[1] |= {"lm_head.weight": head, "layers.0.self_attn.rotary_emb.inv_freq": model.model.rotary_emb.inv_freq}
    for file, shard in zip(files, shards):
        save_file({name: tensor.contiguous() for name, tensor in shard.items()}, path / file, {"format": "pt"})
    (path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}, indent=2) + "\n")

    def change(config):
        del config["max_position_embeddings"], config["rope_parameters"]
        config |= dict(rope_theta=500.0, rope_scaling=scaling | dict(type="llama3"))
        config |= dict(original_max_position_embeddings=64, num_key_value_heads=None)

    edit(path, change)
    expect_as_read(model, path, seed + 100)


def make_first():
    # Untied, grouped queries, in shards.
    make("llama", LlamaForCausalLM(LlamaConfig(**SHAPE)), 1, max_shard_size="20KB")

    # Tied, Llama-3 scaling with all three bands of wavelengths, config.json as transformers 4 wrote it.
    scaling = dict(
        rope_type="llama3",
        factor=8.0,
        low_freq_factor=1.0,
        high_freq_factor=4.0,
        original_max_position_embeddings=64,
    )
    config = LlamaConfig(
        **SHAPE, tie_word_embeddings=True, rope_parameters=scaling | {"rope_theta": 500.0}
    )
    path = make("llama3_tied", LlamaForCausalLM(config), 2)
    file = path / "config.json"
    old = json.loads(file.read_text())
    del old["rope_parameters"]
    old |= {"rope_theta": 500.0, "rope_scaling": scaling, "torch_dtype": old.pop("dtype")}
    file.write_text(json.dumps(old, indent=2) + "\n")

    # Biases on q, k and v; bf16 on disk.
    make("qwen2", Qwen2ForCausalLM(Qwen2Config(**SHAPE)), 3, dtype=torch.bfloat16)

    # Norms on the heads of q and k; heads wider than hidden_size / heads.
    make("qwen3", Qwen3ForCausalLM(Qwen3Config(**SHAPE, head_dim=8)), 4)

    make_untied(5)
    make_lenient(6)


def make_mistral():
    """A window shorter than the texts, over all layers; in shards and bf16."""
    model = MistralForCausalLM(MistralConfig(**PAIR, sliding_window=4))
    make("mistral", model, 7, dtype=torch.bfloat16, greedy=True, max_shard_size="10KB")


def make_qwen2_window():
    """A window from the second layer on."""
    window = dict(use_sliding_window=True, sliding_window=3, max_window_layers=1)
    make("qwen2_window", Qwen2ForCausalLM(Qwen2Config(**PAIR, **window)), 8, greedy=True)


def make_smollm3():
    """The second layer without rotary positions, and with a window."""
    window = dict(no_rope_layer_interval=2, use_sliding_window=True, sliding_window=5)
    make("smollm3", SmolLM3ForCausalLM(SmolLM3Config(**PAIR, **window)), 9, greedy=True)


def make_olmo2():
    make("olmo2", Olmo2ForCausalLM(Olmo2Config(**PAIR)), 10, greedy=True)


def make_granite():
    multipliers = dict(embedding_multiplier=3.0, residual_multiplier=0.5, attention_multiplier=0.2, logits_scaling=2.0)
    make("granite", GraniteForCausalLM(GraniteConfig(**PAIR, **multipliers, tie_word_embeddings=True)), 11, greedy=True)


def make_llama_yarn():
    """All three parts of the passage, and the factor of attention."""
    rope = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=32)
    config = LlamaConfig(**PAIR, head_dim=16, rope_parameters=rope | dict(beta_fast=4.0, beta_slow=1.0))
    make("llama_yarn", LlamaForCausalLM(config), 12, greedy=True)


def make_qwen2_dynamic():
    """The frequencies of texts that are no longer than max_position_embeddings."""
    rope = dict(rope_type="dynamic", rope_theta=100.0, factor=4.0)
    make("qwen2_dynamic", Qwen2ForCausalLM(Qwen2Config(**PAIR, rope_parameters=rope)), 13, greedy=True)


def make_phi3():
    """Fused matrices, a window over all layers; longrope as transformers 4 says it."""
    factors = dict(short_factor=[1.0, 1.3, 1.7, 2.0], long_factor=[2.0, 3.0, 4.0, 5.0])
    rope = factors | dict(rope_type="longrope", rope_theta=100.0)
    config = Phi3Config(**PAIR, sliding_window=4, rope_parameters=rope, original_max_position_embeddings=32)
    path = make("phi3", Phi3ForCausalLM(config), 14, greedy=True)

    def change(config):
        del config["rope_parameters"]
        config |= dict(rope_theta=100.0, rope_scaling=factors | dict(type="longrope"))

    edit(path, change)
    expect_as_read(Phi3ForCausalLM(config), path, 114, greedy=True)


def make_phi4_mini():
    """Part of a head rotated, a tied head; longrope in transformers 5's spelling."""
    rope = dict(rope_type="longrope", rope_theta=100.0, partial_rotary_factor=0.75)
    rope |= dict(short_factor=[1.0, 1.3, 1.7], long_factor=[2.0, 3.0, 4.0])
    config = Phi3Config(**PAIR, rope_parameters=rope, original_max_position_embeddings=32, tie_word_embeddings=True)
    make("phi4_mini", Phi3ForCausalLM(config), 15, greedy=True)


def make_gemma():
    make("gemma", GemmaForCausalLM(GemmaConfig(**PAIR, head_dim=8)), 16, greedy=True)


def make_gemma2():
    """Caps that the numbers come near, and a window in the first layer."""
    caps = dict(attn_logit_softcapping=2.0, final_logit_softcapping=3.0, query_pre_attn_scalar=12)
    make("gemma2", Gemma2ForCausalLM(Gemma2Config(**PAIR, **caps, head_dim=8, sliding_window=4)), 17, greedy=True)


def make_gemma3():
    """A window and a base of its own in the first layer, another base and linear scaling in the second."""
    rope = {
        "sliding_attention": dict(rope_type="default", rope_theta=50.0),
        "full_attention": dict(rope_type="linear", rope_theta=500.0, factor=4.0),
    }
    layers = dict(layer_types=["sliding_attention", "full_attention"], sliding_window=4)
    config = Gemma3TextConfig(**PAIR, **layers, head_dim=8, query_pre_attn_scalar=12, rope_parameters=rope)
    make("gemma3", Gemma3ForCausalLM(config), 18, greedy=True)


def make_qwen3_moe():
    """Experts in the first layer, weights that sum to 1."""
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, norm_topk_prob=True, mlp_only_layers=[1])
    make("qwen3_moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(**PAIR, **experts, head_dim=8)), 19, greedy=True)


def make_qwen3_moe_step():
    """Experts in every second layer, weights as they are, a window."""
    experts = dict(num_experts=3, num_experts_per_tok=2, moe_intermediate_size=12, decoder_sparse_step=2)
    window = dict(use_sliding_window=True, sliding_window=4)
    model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**PAIR, **experts, **window, head_dim=8))
    make("qwen3_moe_step", model, 20, greedy=True)


MAKERS = dict(
    first=make_first,
    mistral=make_mistral,
    qwen2_window=make_qwen2_window,
    smollm3=make_smollm3,
    olmo2=make_olmo2,
    granite=make_granite,
    llama_yarn=make_llama_yarn,
    qwen2_dynamic=make_qwen2_dynamic,
    phi3=make_phi3,
    phi4_mini=make_phi4_mini,
    gemma=make_gemma,
    gemma2=make_gemma2,
    gemma3=make_gemma3,
    qwen3_moe=make_qwen3_moe,
    qwen3_moe_step=make_qwen3_moe_step,
)


def read(saved):
    """Compares the logits of checkpoints that gcpo saved with those expected of the fixtures that they were read from."""
    for path in sorted(saved.iterdir()):
        expected = load_file(FIXTURES / path.name / "expected.safetensors")
        lengths, ids = expected["lengths"], expected["ids_right"]
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        model, info = AutoModelForCausalLM.from_pretrained(
            path, attn_implementation="eager", output_loading_info=True
        )
        assert not any(info[kind] for kind in ["missing_keys", "unexpected_keys", "mismatched_keys"]), (path, info)
        logits = model.eval()(input_ids=ids, attention_mask=mask, use_cache=False).logits.detach()
        error = (logits - expected["logits_right"]).abs()[mask.bool()].max().item()
        print(f"{path.name:20} {type(model).__name__:24} {error:.1e}")
        assert error < 1e-5, path


def main():
    if sys.argv[1:2] == ["--read"]:
        return read(pathlib.Path(sys.argv[2]))
    for name in sys.argv[1:] or MAKERS:
        MAKERS[name]()


if __name__ == "__main__":
    main()
