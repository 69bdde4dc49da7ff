"""Writes events.tfevents: events as TensorBoard's own writer puts them into a file.

Ran with Python 3.11, tensorboard 2.21.0, protobuf 7.36.2. Run it from anywhere; it writes beside itself.
"""

import pathlib

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

HERE = pathlib.Path(__file__).parent
FLOAT_MAX = 3.4028234663852886e38


def scalar(step: int, value: float) -> event_pb2.Event:
    summary = summary_pb2.Summary(
        value=[summary_pb2.Summary.Value(tag="loss/train", simple_value=value)]
    )
    return event_pb2.Event(wall_time=1_700_000_000.0 + step, step=step, summary=summary)


def events():
    yield event_pb2.Event(wall_time=1_700_000_000.25, file_version="brain.Event:2")
    for step, value in [(0, 2.5), (1, -0.0), (127, 1e-30), (128, FLOAT_MAX), (300_000, 1.0)]:
        yield scalar(step, value)
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    yield event_pb2.Event(wall_time=1_700_000_001.5, step=21, session_log=start)


with open(HERE / "events.tfevents", "wb") as out:
    writer = RecordWriter(out)
    for event in events():
        writer.write(event.SerializeToString(deterministic=True))
    writer.flush()
