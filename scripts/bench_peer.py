#!/usr/bin/env python3
"""What PyTorch's own stack does in the works of `gcpo bench`, on this machine: the other side of the ratios in docs/measured.md.

    pip install torch transformers            # decode, train
    pip install trl datasets accelerate       # step
    pip install peft                          # lora
    python3 scripts/bench_peer.py [--shape tiny|small|135m|0.5b] [--work decode|train|step|lora|limits] [--repeats 5] [--threads 2]
                                  [--device cpu|cuda] [--dtype float32|bfloat16|float16] [--model DIR]

Random weights, the same shapes as `src/bench/mod.rs`; one warm-up, then the median:
    decode  `generate` of transformers with its cache, sampling at temperature 1: tiny 32 (small 16, 135m 8, 0.5b 64) prompts of 32
            tokens, exactly 64 new tokens each. Tokens generated a second, prefill included.
    train   forward, log-probabilities of the next tokens, backward, clipping to norm 1, AdamW, on tiny 16 x 128 (small
            8 x 256, 135m 4 x 256, 0.5b 4 x 512) tokens. Tokens run a second. In 16 bits by autocast, weights in f32, as TRL trains.
    limits  what the device reaches at best: bytes a second of a copy (read and written), and operations a second of a
            large matrix product in the dtype.
    step    one step of TRL's GRPOTrainer: 8 prompts of about 40 tokens, 8 completions of exactly 48, beta = 0.04, one
            optimiser pass over all 64 rows. Seconds a step as the trainer's loop takes them (its own logging included,
            generation by transformers). Rewards are
            the texts' hashes: grading costs nothing here.
    lora    the same with PEFT's LoRA (r 16, all linear layers) on the checkpoint of --model, in float32: one prompt, 8 completions
            of 48 tokens, beta = 0. `scripts/bench_lora.sh MODEL` runs gcpo beside it.
Prints one JSON object a work.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "tiny": dict(hidden_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, intermediate_size=384),
    "small": dict(hidden_size=384, num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=6, intermediate_size=1024),
    "135m": dict(
        hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
        vocab_size=49152, tie_word_embeddings=True, rope_theta=1e5,
    ),
    "0.5b": dict(
        hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
        vocab_size=151936, tie_word_embeddings=True, rope_theta=1e6,
    ),
}
VOCABULARY = 512
device, dtype = torch.device("cpu"), torch.float32


def model(shape):
    torch.manual_seed(0)
    settings = dict(vocab_size=VOCABULARY, tie_word_embeddings=False) | SHAPES[shape]
    config = LlamaConfig(
        max_position_embeddings=2048, pad_token_id=0, bos_token_id=None, eos_token_id=None, **settings,
    )
    with torch.device(device):
        return LlamaForCausalLM(config)


def finish():
    if device.type == "cuda":
        torch.cuda.synchronize()


def timed(work, repeats):
    work()
    secs = []
    for _ in range(repeats):
        finish()
        start = time.perf_counter()
        work()
        finish()
        secs.append(time.perf_counter() - start)
    return secs


def limits(shape, repeats):
    small = device.type == "cpu"
    source = torch.empty(1 << (26 if small else 32), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = statistics.median(timed(lambda: target.copy_(source), repeats))
    side = 1024 if small else 8192
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    product = statistics.median(timed(lambda: a @ b, repeats))
    return {"bytes_per_sec": 2 * source.numel() / copy, "flop_per_sec": 2 * side**3 / product}


def decode(shape, repeats):
    net = model(shape).to(dtype).eval()
    rows = {"tiny": 32, "small": 16, "135m": 8, "0.5b": 64}[shape]
    prompts = torch.randint(1, VOCABULARY, (rows, 32), device=device)

    def work():
        with torch.inference_mode():
            out = net.generate(
                prompts, attention_mask=torch.ones_like(prompts), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                min_new_tokens=64, max_new_tokens=64, use_cache=True, pad_token_id=0,
            )
        assert out.shape == (rows, 96)

    return rows * 64, timed(work, repeats)


def train(shape, repeats):
    net = model(shape).train()
    rows, width = {"tiny": (16, 128), "small": (8, 256), "135m": (4, 256), "0.5b": (4, 512)}[shape]
    ids = torch.randint(1, VOCABULARY, (rows, width), device=device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-6, weight_decay=0.01)

    def work():
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = net(ids).logits[:, :-1]
        logp = torch.log_softmax(logits.float(), -1).gather(2, ids[:, 1:, None])
        (-logp.mean()).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return rows * width, timed(work, repeats)


def clock():
    """When the steps of a trainer end."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        ends = []

        def on_train_begin(self, args, state, control, **_):
            self.ends.append(time.perf_counter())

        def on_step_end(self, args, state, control, **_):
            self.ends.append(time.perf_counter())

        def secs(self):
            return [b - a for a, b in zip(self.ends, self.ends[1:])][1:]

    return Clock()


def lora(path, repeats):
    import tempfile

    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    ends = clock()
    prompts = [{"prompt": [{"role": "user", "content": f"{17 + at} + {38 + 3 * at} ="}]} for at in range(repeats + 1)]
    with tempfile.TemporaryDirectory() as directory:
        config = GRPOConfig(
            output_dir=directory, use_cpu=device.type == "cpu", seed=0, max_steps=repeats + 1, num_generations=8,
            per_device_train_batch_size=8, max_completion_length=48, temperature=1.0, beta=0.0, learning_rate=1e-5,
            save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=10**9, gradient_checkpointing=False, bf16=False,
            generation_kwargs={"min_new_tokens": 48},
        )
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32), args=config,
            processing_class=AutoTokenizer.from_pretrained(path), train_dataset=Dataset.from_list(prompts),
            reward_funcs=lambda completions, **_: [float(at % 2) for at in range(len(completions))], callbacks=[ends],
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        trainer.train()
    return 8 * 48, ends.secs()


def step(shape, repeats):
    import tempfile

    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    specials = ["<pad>", "<eos>", "<q>", "<a>", "<unk>"]
    tokens = specials + list("0123456789+-c_#")
    tokens += [chr(0x4E00 + at) for at in range(VOCABULARY - len(tokens))]
    characters = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[], unk_token="<unk>"))
    characters.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=characters, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    generator = torch.Generator().manual_seed(0)
    digits = lambda count: "".join(str(int(d)) for d in torch.randint(0, 10, (count,), generator=generator))
    prompts = [{"prompt": "<q>" + digits(34 + at % 9) + "<a>"} for at in range(8 * (repeats + 1))]

    ends = clock()
    with tempfile.TemporaryDirectory() as directory:
        config = GRPOConfig(
            output_dir=directory, use_cpu=device.type == "cpu", bf16=dtype == torch.bfloat16, seed=0, max_steps=repeats + 1, num_generations=8,
            per_device_train_batch_size=64, max_completion_length=48, temperature=1.0, beta=0.04, learning_rate=1e-6,
            weight_decay=0.01, save_strategy="no", report_to=[], disable_tqdm=True, logging_steps=10**9,
            gradient_checkpointing=False,
            # No end of text is drawn, so that every completion has 48 tokens.
            generation_kwargs={"min_new_tokens": 48},
        )
        # TRL loads the reference model from where the model came from.
        checkpoint = f"{directory}/model"
        model(shape).save_pretrained(checkpoint)
        trainer = GRPOTrainer(
            model=checkpoint, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(prompts),
            reward_funcs=lambda completions, **_: [float(hash(c) % 2) for c in completions], callbacks=[ends],
        )
        trainer.train()
    return 64 * 48, ends.secs()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--work", choices=["decode", "train", "step", "lora", "limits"], action="append")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--model", help="checkpoint of --work lora")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    global device, dtype
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    for work in args.work or ["decode", "train", "step"]:
        if work == "limits":
            print(json.dumps({"device": name, "dtype": args.dtype, "work": work} | limits(args.shape, args.repeats)), flush=True)
            continue
        of = args.model if work == "lora" else args.shape
        tokens, secs = {"decode": decode, "train": train, "step": step, "lora": lora}[work](of, args.repeats)
        median = statistics.median(secs)
        print(json.dumps({
            "tok_per_sec": tokens / median, "secs_median": median, "secs": secs, "device": name, "dtype": args.dtype,
            "threads": args.threads, "shape": args.shape, "work": work, "torch": torch.__version__,
            "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
            "device_bytes": torch.cuda.max_memory_reserved() if args.device == "cuda" else None,
        }), flush=True)


if __name__ == "__main__":
    main()
