#!/usr/bin/env python3
"""Tiny random reward models with the scores that transformers gives: rewrites tests/fixtures/reward/model_*/.

    pip install torch transformers
    python3 scripts/make_reward_model_fixtures.py

Each directory holds a sequence classifier with one label, its tokenizer and chat template, and `expected.json`: prompts (a text, or
messages), completions, and what TRL computes for a reward model: the logit at the last token of prompt and completion, in a batch.

Made with torch 2.9.1 and transformers 5.23.
"""

import json
import pathlib
import shutil

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForSequenceClassification,
    Qwen3Config,
    Qwen3ForSequenceClassification,
)

FIXTURES = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "reward"
SHAPE = dict(
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    initializer_range=0.3,
    num_labels=1,
)
CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>{% if not loop.last %}\n{% endif %}{% endfor %}"
TEXTS = ["What is 3 + 4? Reason step by step.", "The answer is 7, since 3 + 4 = 7.", "It is 8.", "I do not know."]
# The filler is a token of its own, or, as often, what ends the last turn: the state before it is then what counts.
CASES = {
    "model_llama": (LlamaConfig, LlamaForSequenceClassification, "<pad>"),
    "model_qwen2": (Qwen2Config, Qwen2ForSequenceClassification, "<|im_end|>"),
    "model_qwen3": (Qwen3Config, Qwen3ForSequenceClassification, "<pad>"),
}


def tokenizer(pad):
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    special = ["<pad>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=280, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(TEXTS, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token=pad)
    made.chat_template = CHATML
    return made


def scores(model, tok, texts):
    inputs = tok(text=texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.inference_mode():
        return model(**inputs).logits[:, 0].double().tolist()


def main():
    for name, (config, cls, pad) in CASES.items():
        torch.manual_seed(0)
        tok = tokenizer(pad)
        shape = dict(SHAPE, head_dim=6) if "qwen3" in name else SHAPE
        model = cls(config(vocab_size=len(tok), pad_token_id=tok.pad_token_id, **shape)).eval()
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                if "norm" in parameter_name:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
        out = FIXTURES / name
        shutil.rmtree(out, ignore_errors=True)
        model.save_pretrained(out)
        tok.save_pretrained(out)
        prompt, completions = TEXTS[0], TEXTS[1:] + [""]
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]
        chats = [turns + [{"role": "assistant", "content": completion}] for completion in completions]
        expected = {
            "prompt": prompt,
            "messages": turns,
            "completions": completions,
            "of_text": scores(model, tok, [prompt + completion for completion in completions]),
            "of_messages": scores(model, tok, [tok.apply_chat_template(chat, tokenize=False) for chat in chats]),
        }
        (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


main()
