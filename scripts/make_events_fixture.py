"""Writes tests/fixtures/events.tfevents with TensorBoard's own messages and record writer: what src/run/events.rs must write.

    pip install tensorboard && python scripts/make_events_fixture.py
"""

import pathlib

from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

STEPS = [
    (0, {"eval/pass@1": 0.4453125}),
    (1, {"reward/mean": 0.46875, "rollout/kv_bytes": 20041728.0}),
    (300, {"objective/loss": -1e-7, "reward/Länge_mean": 0.25}),
]

target = pathlib.Path(__file__).parent.parent / "tests/fixtures/events.tfevents"
with open(target, "wb") as file:
    writer = RecordWriter(file)
    version = event_pb2.Event(wall_time=1_700_000_000.5, file_version="brain.Event:2")
    start = event_pb2.Event(
        wall_time=1_700_000_000.5,
        session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START),
    )
    for event in (version, start):
        writer.write(event.SerializeToString())
    for at, (step, numbers) in enumerate(STEPS):
        event = event_pb2.Event(wall_time=1_700_000_001.0 + at, step=step)
        for tag, value in numbers.items():
            event.summary.value.add(tag=tag, simple_value=value)
        writer.write(event.SerializeToString())
    writer.flush()
