#!/usr/bin/env python3
"""A model on paper of ranks that train as one: seconds of a step, tokens a second and memory, from the formulas of docs/clusters.md.

    scripts/cluster_model.py            the tables of docs/clusters.md

Every number below is an assumption and can be replaced by a measured one."""

from math import ceil, log, sqrt

# A GPU: operations and bytes a second, and what of them is reached.
FLOPS, REACHED = 989e12, 0.25
HBM, HBM_REACHED = 3.35e12, 0.5
# Bytes a second: between a GPU and its host; between ranks of one machine, through its memory; of a machine's network, shared by its ranks.
PCIE, WITHIN, NETWORK = 25e9, 8e9, 50e9
RANKS_A_MACHINE = 8
# A step.
PROMPTS, CANDIDATES, TOKENS, PROMPT, LANES = 256, 8, 1000, 200, 256
SPREAD = 0.3  # of a group's tokens, as a share of their mean
FIXED = 0.5  # seconds: grading, exchange of results, logs
MODELS = {"1.5B": (1.54e9, 18.5e6), "7B": (7.6e9, 40.4e6)}  # numbers, and those of adapters (r = 16, all projections)


def step(model, lora, ranks):
    numbers, adapters = MODELS[model]
    trained, wide = (adapters, 4) if lora else (numbers, 2)
    rows = PROMPTS * CANDIDATES / ranks
    lanes = min(LANES, rows)
    token = max(2 * numbers / (HBM * HBM_REACHED), 2 * numbers * lanes / (FLOPS * REACHED))
    sample = ceil(rows / LANES) * TOKENS * token
    tokens = rows * (PROMPT + TOKENS)
    train = (4 if lora else 6) * numbers * tokens / (FLOPS * REACHED)
    uneven = 1 + SPREAD * sqrt(2 * log(ranks) / max(PROMPTS / ranks, 1)) if ranks > 1 else 1
    link = WITHIN if ranks <= RANKS_A_MACHINE else min(WITHIN, NETWORK / RANKS_A_MACHINE)
    talk = 0.0
    if ranks > 1:
        sent = (4 + wide) * trained * (ranks - 1) / ranks
        talk = sent / link + (4 + wide) * trained / PCIE
    secs = (sample + train) * uneven + talk + FIXED
    memory = 2 * numbers + (4 + wide) * trained + (8 + (0 if lora else 4)) * trained / ranks
    return sample, train, (sample + train) * (uneven - 1), talk, secs, memory


def main():
    print("| model | ranks | sample | train | uneven | talk | step, s | tokens/s | of perfect | memory, GB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for model in MODELS:
        for lora in (True, False):
            one = step(model, lora, 1)[4]
            for ranks in (1, 8, 16, 32, 64, 128):
                sample, train, uneven, talk, secs, memory = step(model, lora, ranks)
                rate = PROMPTS * CANDIDATES * TOKENS / secs
                print(
                    f"| {model}{' LoRA' if lora else ' full'} | {ranks} | {sample:.1f} | {train:.1f} | {uneven:.1f} | {talk:.2f} | {secs:.1f} "
                    f"| {rate:,.0f} | {one / secs / ranks:.0%} | {memory / 1e9:.0f} |"
                )


if __name__ == "__main__":
    main()
