"""Reads a run's `train/tensorboard` with TensorBoard's own reader and compares it with `train/metrics.jsonl`.

    python tests/goldens/train/check_tensorboard.py RUN

Ran with Python 3.11, tensorboard 2.21.0. Every step of the metrics must be there once, whatever was killed in between.
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

train = pathlib.Path(sys.argv[1]) / "train"
# Zero for scalars keeps all of them.
accumulator = EventAccumulator(str(train / "tensorboard"), size_guidance={"scalars": 0})
accumulator.Reload()
rows = [json.loads(line) for line in (train / "metrics.jsonl").read_text().splitlines()]
named = {"loss/train": "loss", "lr": "lr", "grad_norm": "grad_norm", "loss/dev": "dev_loss"}
for tag, key in named.items():
    expected = [(row["step"], row[key]) for row in rows if key in row]
    if not expected:
        continue
    found = [(event.step, event.value) for event in accumulator.Scalars(tag)]
    assert [step for step, _ in found] == [step for step, _ in expected], (tag, found, expected)
    for (step, ours), (_, value) in zip(found, expected):
        assert abs(ours - value) <= 1e-6 * max(1.0, abs(value)), (tag, step, ours, value)
    print(f"{tag}: {len(found)} values agree")
rates = accumulator.Scalars("tokens_per_second")
assert len(rates) == sum("loss" in row for row in rows) and all(rate.value > 0 for rate in rates)
print(f"files: {len(list((train / 'tensorboard').iterdir()))}")
