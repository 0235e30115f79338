"""Holds a run's event files to its metrics.jsonl, as TensorBoard's own reader reads them.

    pip install tensorboard && python scripts/check_tensorboard.py RUN

Says what is missing, repeated or other, and exits with 1 if anything is.
"""

import json
import pathlib
import sys

import numpy
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = pathlib.Path(sys.argv[1])
expected = {}
for line in (run / "metrics.jsonl").read_text().splitlines():
    numbers = json.loads(line)
    step = numbers.pop("step")
    for tag, value in numbers.items():
        if value is not None:
            expected.setdefault(tag, []).append((step, float(numpy.float32(value))))

reader = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0, "scalars": 0})
reader.Reload()
tags = reader.Tags()


def read(tag):
    if tag in tags["scalars"]:
        return [(event.step, event.value) for event in reader.Scalars(tag)]
    events = reader.Tensors(tag)
    return [(event.step, float(numpy.float32(event.tensor_proto.float_val[0]))) for event in events]


found = {tag: read(tag) for tag in tags["scalars"] + tags["tensors"]}
wrong = sorted(tag for tag in expected.keys() | found.keys() if expected.get(tag) != found.get(tag))
for tag in wrong:
    print(f"{tag}: in metrics.jsonl {expected.get(tag)}, in tensorboard/ {found.get(tag)}")
print(f"{len(found)} tags, {sum(map(len, found.values()))} numbers, {len(wrong)} tags that differ")
sys.exit(bool(wrong))
