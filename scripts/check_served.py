#!/usr/bin/env python3
"""Whether a directory that gcpo wrote is what programs that load models take it for.

    pip install torch transformers          (and peft for an adapter's directory; vllm where there is room for it)
    python scripts/check_served.py DIR [--base DIR]

A model's directory: its files of weights are found as vLLM finds them (`*.safetensors`; where there is an index, the files that it names only;
without the files of a trainer), every tensor in them is one of transformers' model of that config.json, in its shape, and none is missing;
AutoConfig, AutoTokenizer and GenerationConfig load the rest. vLLM's own functions are asked where vllm can be imported; else what they are
documented to do is done here, and said. An adapter's directory: PeftConfig loads it (where peft can be imported), and with --base each of its
tensors belongs to a projection of the base model. Prints a line for each check; exits with 1 at the first that fails.
"""

import argparse
import json
import sys
from pathlib import Path

INDEX = "model.safetensors.index.json"
# What vLLM leaves out besides: files of a trainer.
NOT_NEEDED = ("training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scaler.pt")


def check(what, is_right, detail=""):
    print(f"{'ok  ' if is_right else 'FAIL'} {what}{': ' + detail if detail else ''}")
    if not is_right:
        sys.exit(1)


def weight_files(place):
    """The files that vLLM's default loader takes, and by whose word."""
    files = sorted(str(path) for path in place.glob("*.safetensors"))
    try:
        from vllm.model_executor.model_loader.weight_utils import (
            filter_duplicate_safetensors_files, filter_files_not_needed_for_inference)
    except ImportError:
        index = place / INDEX
        if index.exists():
            named = {str(place / file) for file in json.loads(index.read_text())["weight_map"].values()}
            files = [file for file in files if file in named]
        return [file for file in files if not file.endswith(NOT_NEEDED)], "its documented filter (vllm is not installed)"
    files = filter_duplicate_safetensors_files(files, str(place), INDEX)
    return filter_files_not_needed_for_inference(files), "vLLM's own functions"


def tensors(files):
    from safetensors import safe_open
    found, dtypes = {}, {}
    for file in files:
        with safe_open(file, "pt") as opened:
            for name in opened.keys():
                check(f"{name} is in one file", name not in found) if name in found else None
                part = opened.get_slice(name)
                found[name] = list(part.get_shape())
                dtypes[part.get_dtype()] = dtypes.get(part.get_dtype(), 0) + 1
    return found, dtypes


def skeleton(config):
    """Names and shapes of transformers' model of a config, without memory for it; and names that are others' by tying."""
    import torch
    from transformers import AutoModelForCausalLM
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    wanted = {name: list(value.shape) for name, value in model.state_dict().items()}
    tied = {"lm_head.weight"} if getattr(config, "tie_word_embeddings", False) else set()
    return wanted, tied


def check_model(place):
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig
    config = AutoConfig.from_pretrained(place)
    architectures = config.architectures or []
    check("AutoConfig", bool(architectures), f"{type(config).__name__}, {', '.join(architectures)}, {config.dtype}")
    files, by = weight_files(place)
    lying = sorted(path.name for path in place.glob("*.safetensors"))
    check(f"weights by {by}", bool(files), ", ".join(Path(file).name for file in files))
    check("no other *.safetensors beside them", sorted(Path(file).name for file in files) == lying, ", ".join(lying))
    found, dtypes = tensors(files)
    wanted, tied = skeleton(config)
    extra = sorted(set(found) - set(wanted))
    missing = sorted(set(wanted) - set(found) - tied)
    other = sorted(name for name in found if name in wanted and found[name] != wanted[name])
    check(f"{len(found)} tensors, each one of transformers' model", not (extra or missing or other),
          f"{dtypes}" if not (extra or missing or other) else f"extra {extra[:3]}, missing {missing[:3]}, of another shape {other[:3]}")
    said = str(config.dtype).split(".")[-1]
    short = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    check("config.json says their format", {short.get(dtype) for dtype in dtypes} == {said}, said)
    check_tokenizer(AutoTokenizer.from_pretrained(place), config.vocab_size)
    generation = GenerationConfig.from_pretrained(place)
    check("GenerationConfig", generation.eos_token_id is not None, f"eos_token_id {generation.eos_token_id}")


def check_tokenizer(tokenizer, rows):
    text = "What is 3+4?"
    ids = tokenizer(text)["input_ids"]
    check("AutoTokenizer", all(token < rows for token in ids), f"{type(tokenizer).__name__}, {text!r} is {ids}")


def check_adapter(place, base):
    said = json.loads((place / "adapter_config.json").read_text())
    try:
        from peft import PeftConfig
        config = PeftConfig.from_pretrained(str(place))
        check("PeftConfig", config.peft_type == "LORA", f"r {config.r}, alpha {config.lora_alpha}, {sorted(config.target_modules)}")
    except ImportError:
        check("adapter_config.json (peft is not installed)", said["peft_type"] == "LORA", f"r {said['r']}, {said['target_modules']}")
    lying = sorted(path.name for path in place.glob("*.safetensors"))
    check("one file of tensors", lying == ["adapter_model.safetensors"], ", ".join(lying))
    found, dtypes = tensors([str(place / "adapter_model.safetensors")])
    halves = [name.rsplit(".lora_", 1) for name in found]
    check(f"{len(found)} tensors, A and B of each projection", len(found) == 2 * len({name for name, _ in halves}), f"{dtypes}")
    if base is None:
        print("     give --base DIR to hold them to the base model")
        return
    from transformers import AutoConfig, AutoTokenizer
    config = AutoConfig.from_pretrained(base)
    wanted, _ = skeleton(config)
    for name, shape in found.items():
        projection, half = name.removeprefix("base_model.model.").rsplit(".lora_", 1)
        of = wanted.get(projection + ".weight")
        right = of is not None and shape == ([said["r"], of[1]] if half == "A.weight" else [of[0], said["r"]])
        if not right:
            check(name, False, f"{shape} beside {of}")
    check("each belongs to a projection of the base model", True)
    check_tokenizer(AutoTokenizer.from_pretrained(place), config.vocab_size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path)
    parser.add_argument("--base", type=Path)
    args = parser.parse_args()
    if (args.dir / "adapter_config.json").exists():
        check_adapter(args.dir, args.base)
    else:
        check_model(args.dir)


if __name__ == "__main__":
    main()
