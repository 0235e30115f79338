"""Takes a few rows of HumanEval and of MBPP for tests: python3 scripts/make_code_fixtures.py HumanEval.jsonl.gz mbpp.jsonl

Writes tests/fixtures/code/humaneval.jsonl and mbpp.jsonl, rows as they are. HumanEval is Copyright (c) OpenAI, MIT licence
(https://github.com/openai/human-eval); MBPP is by Austin et al., Google, CC BY 4.0
(https://github.com/google-research/google-research/tree/master/mbpp). tests/fixtures/code/README.md says so beside them.
"""

import gzip
import json
import pathlib
import sys

# Short ones, among them imports and a helper before the function (38), a type in the test (22), and numbers that are only near (2).
HUMANEVAL = [f"HumanEval/{number}" for number in (2, 22, 28, 38, 53)]
# The three that the authors show, a setup with a class, and floats.
MBPP = [2, 3, 4, 927, 82]


def rows(path):
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt") as file:
        return [json.loads(line) for line in file]


def write(name, found, count):
    assert len(found) == count, found
    path = pathlib.Path(__file__).parent.parent / "tests/fixtures/code" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


humaneval, mbpp = sys.argv[1:]
write("humaneval.jsonl", [row for row in rows(humaneval) if row["task_id"] in HUMANEVAL], len(HUMANEVAL))
write("mbpp.jsonl", [row for row in rows(mbpp) if row["task_id"] in MBPP], len(MBPP))
