#!/usr/bin/env python3
"""What TRL's own reward functions say of some completions: rewrites tests/fixtures/reward/trl.json.

    pip install trl math-verify
    python3 scripts/make_reward_fixtures.py

`tests/python_reward.rs` has the same functions called by gcpo, unchanged, where a Python with TRL is there (GCPO_TRL_PYTHON names it,
else `python3`), and holds them to these numbers.

Made with trl 1.16 and math-verify 0.9.
"""

import json
import pathlib

from trl import rewards

OUT = pathlib.Path(__file__).parent.parent / "tests" / "fixtures" / "reward" / "trl.json"
TEXTS = [
    r"<think>half of a half</think>so it is \boxed{\frac{1}{4}}",
    r"<think>half of a half</think>The final answer is \boxed{0.25}",
    r"it is \boxed{\frac{1}{2}}",
    r"<think>\boxed{\frac{1}{4}} perhaps",
    "a b c a b c a b c",
    "",
]
# The fifth has a gold answer that cannot be parsed: None.
SOLUTIONS = [r"\frac{1}{4}", "0.25", r"$\frac{1}{4}$", r"\frac{1}{4}", "", "3"]
IDS = [[1] * length for length in (4, 8, 12, 16, 20, 24)]
FUNCTIONS = [
    ("accuracy_reward", None),
    ("reasoning_accuracy_reward", None),
    ("think_format_reward", None),
    ("get_cosine_scaled_reward", {"max_len": 20}),
    ("get_repetition_penalty_reward", {"ngram_size": 3, "max_penalty": -1.0}),
    ("get_soft_overlong_punishment", {"max_completion_len": 20, "soft_punish_cache": 10}),
]


def main():
    completions = [[{"role": "assistant", "content": text}] for text in TEXTS]
    cases = []
    for name, args in FUNCTIONS:
        function = getattr(rewards, name)
        if args is not None:
            function = function(**args)
        expected = function(prompts=completions, completions=completions, solution=SOLUTIONS, completion_ids=IDS)
        cases.append({"function": name, "args": args, "expected": expected})
    found = {"texts": TEXTS, "solutions": SOLUTIONS, "lengths": [len(ids) for ids in IDS], "cases": cases}
    OUT.write_text(json.dumps(found, indent=1) + "\n")


main()
