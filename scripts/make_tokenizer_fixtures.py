#!/usr/bin/env python3
"""Makes data/tests/fixtures/tokenizers.json: what transformers' AutoTokenizer makes of small tokenizers, by what else is in their directory.

    pip install transformers
    python scripts/make_tokenizer_fixtures.py

Two tokenizers (byte-level as Qwen2's, and as SentencePiece makes them), edited; each with several tokenizer_config.json and model types.
"""

import json
import tempfile
from pathlib import Path

import transformers
from transformers import AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

transformers.logging.set_verbosity_error()


def added(tokens):
    return [{"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
            for number, token in enumerate(tokens)]


def template(front, behind):
    """A post-processor that puts tokens around a text."""
    special = lambda token: {"SpecialToken": {"id": token, "type_id": 0}}
    single = [special(token) for token in front] + [{"Sequence": {"id": "A", "type_id": 0}}] + [special(token) for token in behind]
    ids = {"<s>": 1, "</s>": 2}
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in [*front, *behind]}}


def file(model, **parts):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **model}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added(["<unk>", "<s>", "</s>"]), "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, **parts, "model": model}


def byte_level(space):
    characters = list("abehlow1.") + ["Ġ", "Ċ", "Ã", "©"]
    merges = [["l", "o"], ["Ġ", "h"], ["h", "e"], ["Ġ", "1"], ["Ġh", "e"]]
    tokens = ["<unk>", "<s>", "</s>", *characters, *("".join(pair) for pair in merges)]
    level = {"type": "ByteLevel", "add_prefix_space": space, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PRETOKENIZE_REGEX}, "behavior": "Isolated", "invert": False}
    return file({"vocab": {token: number for number, token in enumerate(tokens)}, "merges": merges}, normalizer={"type": "NFC"},
                pre_tokenizer={"type": "Sequence", "pretokenizers": [split, level]}, decoder={"type": "ByteLevel", **level})


def sentence_piece(normalizer, pre_tokenizer, strip):
    merges = [["▁", "7"], ["▁", "A"]]
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "▁7", "▁A", *"0123456789ABns:"]
    decoders = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    decoders += [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if strip else []
    return file({"vocab": {token: number for number, token in enumerate(tokens)}, "merges": merges, "unk_token": "<unk>", "fuse_unk": True,
                 "byte_fallback": True}, normalizer=normalizer, pre_tokenizer=pre_tokenizer, decoder={"type": "Sequence", "decoders": decoders})


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
PREPEND = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, REPLACE]}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
TOKENIZERS = {"bytes": byte_level(False), "bytes_space": byte_level(True), "piece": sentence_piece(PREPEND, None, True),
              "piece_bare": sentence_piece(REPLACE, None, False), "piece_first": sentence_piece(None, METASPACE, True)}
TEXTS = {"bytes": ["hello", " hello 11", "he</s>he", "é\n1"], "piece": ["7", "A 7", " 7", "7</s>7", "7</s> 7", "\n7", ""]}
CONFIGS = [{}, {"add_prefix_space": True}, {"add_prefix_space": False}, {"add_bos_token": True, "add_eos_token": True},
           {"add_bos_token": False, "add_eos_token": False}, {"legacy": True}, {"legacy": False, "add_prefix_space": None}]
CLASSES = {"bytes": ["Qwen2Tokenizer", "Qwen2TokenizerFast", "LlamaTokenizerFast", "PreTrainedTokenizerFast", None],
           "piece": ["LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast", None]}
TYPES = {"bytes": ["qwen2", "qwen3", "llama", None], "piece": ["llama", None]}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
POSTS = {"none": None, "bos": template(["<s>"], []), "both": template(["<s>"], ["</s>"])}


def main():
    cases, outcomes = [], []
    for name, tokenizer in TOKENIZERS.items():
        kind = name.split("_")[0]
        for post, processor in POSTS.items():
            for model_type in TYPES[kind]:
                for tokenizer_class in CLASSES[kind]:
                    for config in CONFIGS:
                        if kind == "bytes" and ("legacy" in config or post == "both") or post != "none" and "add_prefix_space" in config:
                            continue
                        config = {**TOKENS, **config}
                        if tokenizer_class:
                            config["tokenizer_class"] = tokenizer_class
                        with tempfile.TemporaryDirectory() as place:
                            place = Path(place)
                            (place / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": processor}))
                            (place / "tokenizer_config.json").write_text(json.dumps(config))
                            if model_type:
                                (place / "config.json").write_text(json.dumps({"model_type": model_type}))
                            loaded = AutoTokenizer.from_pretrained(place)
                        ids = [loaded(text)["input_ids"] for text in TEXTS[kind]]
                        bare = [loaded(text, add_special_tokens=False)["input_ids"] for text in TEXTS[kind]]
                        outcome = {"ids": ids, "bare": bare, "decoded": [loaded.decode(text, clean_up_tokenization_spaces=False) for text in bare]}
                        if outcome not in outcomes:
                            outcomes.append(outcome)
                        more = {key: value for key, value in config.items() if key not in TOKENS}
                        cases.append([name, post, model_type, more, outcomes.index(outcome)])
    document = {"transformers": transformers.__version__, "tokenizers": TOKENIZERS, "post_processors": POSTS, "texts": TEXTS, "config": TOKENS,
                "outcomes": outcomes, "cases": cases}
    path = Path(__file__).parent.parent / "data/tests/fixtures/tokenizers.json"
    path.write_text(json.dumps(document, ensure_ascii=False).replace("], [\"", "],\n[\"") + "\n")


if __name__ == "__main__":
    main()
