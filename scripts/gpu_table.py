#!/usr/bin/env python3
"""The table of `scripts/gpu_check.sh`, from the folder that it wrote: python3 scripts/gpu_table.py DIR

Shares of the limits: decoding reads all weights once for each token of all rows, training does six operations a parameter
and token; both beside what torch reached on the same card with a copy and a large product (`bench_peer.py --work limits`).
"""

import json
import pathlib
import sys

ROWS = {"tiny": 32, "small": 16, "0.5b": 64}
PARAMETERS = {"tiny": 918_656, "small": 11_015_040, "0.5b": 494_005_120}
LONG = {"logp": "log-probabilities alone", "long_train": "train, one long text, layers computed again"}
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def read(path):
    try:
        return json.loads(path.read_text().strip().splitlines()[-1])
    except (OSError, IndexError, ValueError):
        return None


def share(report, limits):
    """Share of the limit that binds the work."""
    limit = limits.get(report.get("dtype", "float32"))
    parameters = PARAMETERS.get(report["shape"])
    if not limit or not parameters:
        return ""
    if report["work"] == "decode":
        used = report["tok_per_sec"] / ROWS[report["shape"]] * parameters * BYTES[report["dtype"]]
        return f"{used / limit['bytes_per_sec']:.0%} of the memory's rate"
    if report["work"] == "train":
        return f"{report['tok_per_sec'] * 6 * parameters / limit['flop_per_sec']:.0%} of the products' rate"
    return ""


def memory(report):
    held = report.get("device_bytes")
    return f"{held / 2**30:.1f} GiB" if held else ""


def main():
    folder = pathlib.Path(sys.argv[1])
    limits = {found["dtype"]: found for found in map(read, sorted(folder.glob("limits_*.txt"))) if found}
    print("| work | gcpo | peer | ratio | memory (peer) | share of the limit (peer) |")
    print("| --- | --- | --- | --- | --- | --- |")
    device = None
    for name in ["small_decode", "small_train", "small_step", "large_decode", "large_train", "logp", "long_train"]:
        ours, peer = read(folder / f"{name}.txt"), read(folder / f"peer_{name}.txt")
        if not ours and not peer:
            continue
        about = ours or peer
        device = ours["device"] if ours else device
        speed = lambda report: f"{report['tok_per_sec']:,.0f} tok/s" if report else "failed"
        ratio = f"{ours['tok_per_sec'] / peer['tok_per_sec']:.2f}" if ours and peer else ""
        both = lambda of: " ".join(filter(None, [of(ours) if ours else "", f"({of(peer)})" if peer and of(peer) else ""]))
        print(
            f"| {LONG.get(name, about['shape'] + ' ' + about['work'])} {about.get('dtype', 'float32')} | {speed(ours)} | "
            f"{speed(peer) if peer else 'left out'} | {ratio} | {both(memory)} | {both(lambda r: share(r, limits))} |"
        )
    print(f"\nOn {device or 'no device'}.", end="")
    for dtype, found in limits.items():
        print(
            f" torch, {dtype}: a copy moves {found['bytes_per_sec'] / 1e9:,.0f} GB/s, a product does "
            f"{found['flop_per_sec'] / 1e12:,.2f} TFLOP/s.", end="",
        )
    print()


main()
