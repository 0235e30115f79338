#!/usr/bin/env python3
"""gcpo's grader beside Math-Verify on the same answers of a real model, in one run: agreement and speed.

    pip install math-verify==0.9.0 antlr4-python3-runtime==4.13.2
    scripts/bench_grader.py cases.jsonl [--kind model_output_machine_label] [--gcpo target/debug/gcpo] [--repeats 5]

The file has a case a line: {"gold", "pred", "equal", "kind"}. Both graders take the whole text of an answer and find the
final answer in it themselves. Speed is the median of the repeats, taken in turn, on one core each; reading the file and starting
the programs is not counted.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

TARGETS = [LatexExtractionConfig(), ExprExtractionConfig()]


def math_verify(case):
    """A bare gold is put into `$`, else its LaTeX is not read as such; that is one reading of each side."""
    gold = case["gold"]
    if "$" not in gold and "\\boxed" not in gold:
        gold = f"${gold}$"
    return bool(verify(parse(gold, TARGETS), parse(case["pred"], TARGETS)))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("cases")
    arguments.add_argument("--kind", default="model_output_machine_label")
    arguments.add_argument("--gcpo", default="target/debug/gcpo")
    arguments.add_argument("--repeats", type=int, default=5)
    args = arguments.parse_args()
    with open(args.cases) as lines:
        cases = [case for case in map(json.loads, lines) if case.get("kind") == args.kind]
    speeds = {"gcpo": [], "Math-Verify": []}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for case in cases:
            file.write(json.dumps({key: case[key] for key in ("gold", "pred", "equal")}) + "\n")
        file.flush()
        for _ in range(args.repeats):
            run = [args.gcpo, "grade", "--cases", file.name, "--json"]
            ours = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
            speeds["gcpo"].append(ours["grades_per_sec"])
            started = time.perf_counter()
            theirs = [math_verify(case) for case in cases]
            speeds["Math-Verify"].append(len(cases) / (time.perf_counter() - started))
    labels = [bool(case["equal"]) for case in cases]
    wrong = {row["line"] for row in ours["disagreements"]}
    verdicts = [label != (number in wrong) for number, label in enumerate(labels, 1)]
    for name, found in (("gcpo", verdicts), ("Math-Verify", theirs)):
        agree = sum(a == b for a, b in zip(found, labels))
        print(f"{name:12} {len(cases)} cases, {100 * agree / len(cases):.1f} % as labelled, "
              f"{sum(a and not b for a, b in zip(found, labels))} right that are labelled wrong, "
              f"{sum(b and not a for a, b in zip(found, labels))} wrong that are labelled right, "
              f"{statistics.median(speeds[name]):,.0f} grades/s (median of {args.repeats})")
    both = sum(a == b for a, b in zip(verdicts, theirs))
    print(f"the two agree on {both} of {len(cases)}; they differ on:")
    for number, (a, b) in enumerate(zip(verdicts, theirs)):
        if a != b:
            case = cases[number]
            print(f"  gold {case['gold']!r} … {case['pred'][-70:]!r}: labelled {case['equal']}, gcpo {a}, Math-Verify {b}")


if __name__ == "__main__":
    main()
