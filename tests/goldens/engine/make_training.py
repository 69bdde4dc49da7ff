# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "safetensors==0.8.0"]
# ///
"""Twenty optimizer steps of PEFT's methods on a tiny model: loss, gradient norm and rate of each.

    python make_training.py MODEL_DIR NAME OUT_DIR

Writes OUT_DIR/training_NAME.json for the model of a Hugging Face folder, of any family: of `llama` every method under both
schedules, of the others under the first. It holds the settings of every run,
the rows ({"ids", "learned"}), and for each method and schedule the loss before each update (sum of cross-entropies over the
step's labelled tokens), the norm before clipping and the rate.

A step's rows are learned from one at a time: their gradients are accumulated, each divided by the labelled tokens of the
whole step, then clip_grad_norm_, AdamW and the schedule as transformers' Trainer calls them. DRAWS are the rows of each step
as our plan draws them with SEED; the test checks that. Both sides start from the same A, which `start` writes out, B = 0.
"""
import pathlib
import sys

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from reference_model import IGNORED, label_count, load, summed_loss, write_json

SEED, ROWS, BATCH, STEPS, WARMUP = 7, 24, 6, 20, 2
RANK, ALPHA, RATE, DECAY, RATIO = 4, 8, 4e-3, 0.01, 4.0
# Some steps are to be clipped and some not, and the families' gradients differ in size.
MAX_NORM = {"qwen3": 0.95, "llama-3": 2.5, "smollm2": 2.5}.get(sys.argv[2], 1.6)
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
METHODS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "lora_plus": {},
}
SCHEDULES = {"cosine": get_cosine_schedule_with_warmup, "linear": get_linear_schedule_with_warmup}
DRAWS = [
    [4, 0, 2, 8, 6, 23], [1, 10, 22, 5, 20, 21], [11, 9, 18, 7, 15, 16], [3, 17, 13, 12, 14, 19],
    [20, 9, 21, 13, 0, 16], [2, 17, 8, 18, 1, 5], [11, 12, 4, 23, 10, 22], [6, 3, 15, 7, 19, 14],
    [5, 17, 15, 4, 8, 0], [23, 10, 2, 20, 1, 18], [16, 9, 22, 6, 7, 13], [14, 21, 12, 3, 11, 19],
    [9, 18, 23, 7, 19, 20], [10, 22, 13, 21, 12, 5], [2, 0, 6, 3, 15, 1], [11, 8, 17, 16, 4, 14],
    [19, 14, 8, 18, 6, 0], [15, 5, 4, 2, 1, 11], [10, 17, 21, 7, 3, 16], [9, 23, 12, 13, 22, 20],
]


def draw_rows(vocabulary):
    """Rows of 6 to 19 tokens; the last third or more is learned."""
    generator = torch.Generator().manual_seed(SEED)
    rows = []
    for row in range(ROWS):
        length = 6 + (row * 5) % 14
        ids = torch.randint(3, vocabulary, (length,), generator=generator).tolist()
        first = length - max(2, length // 3 + row % 3)
        rows.append((ids, [IGNORED] * first + ids[first:]))
    return rows


def start(factors):
    """A in +-1/sqrt(in), evenly spread by the golden ratio: the same numbers in any language. B is zero."""
    with torch.no_grad():
        for name, value in factors.items():
            if ".lora_A." not in name:
                continue
            path = name.split(".layers.")[1].split(".")
            place = int(path[0]) * len(TARGETS) + TARGETS.index(path[2])
            count = torch.arange(1, value.numel() + 1, dtype=torch.float64)
            part = (count * 0.6180339887498949 + place * 0.37) % 1.0
            value.copy_(((2.0 * part - 1.0) / value.shape[1] ** 0.5).reshape(value.shape))


def optimizer_of(model, factors, method):
    settings = {"betas": (0.9, 0.999), "eps": 1e-8, "foreach": False}
    if method == "lora_plus":
        optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=RATIO, loraplus_weight_decay=DECAY, **settings)
        rates = {group["lr"] for group in optimizer.param_groups if group["params"]}
        assert rates == {RATE, RATE * RATIO}, rates
        assert all(group["weight_decay"] == DECAY for group in optimizer.param_groups if group["params"])
        return optimizer
    return torch.optim.AdamW(factors.values(), lr=RATE, weight_decay=DECAY, **settings)


def train(folder, rows, method, schedule, dtype=torch.float32):
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, task_type="CAUSAL_LM", **METHODS[method])
    model = get_peft_model(load(folder, dtype), config, autocast_adapter_dtype=False).eval()
    factors = {name: value for name, value in model.named_parameters() if value.requires_grad}
    start(factors)
    optimizer = optimizer_of(model, factors, method)
    scheduler = SCHEDULES[schedule](optimizer, WARMUP, STEPS)
    losses, norms, rates = [], [], []
    for draws in DRAWS:
        chosen = [rows[draw] for draw in draws]
        count = sum(label_count(labels) for _, labels in chosen)
        optimizer.zero_grad()
        total = 0.0
        for ids, labels in chosen:
            loss = summed_loss(model, ids, labels) / count
            loss.backward()
            total += loss.item()
        losses.append(total)
        norms.append(torch.nn.utils.clip_grad_norm_(factors.values(), MAX_NORM, foreach=False).item())
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return losses, norms, rates


def main():
    folder, name, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    rows = draw_rows(load(folder).config.vocab_size)
    runs = {}
    for schedule in SCHEDULES if name == "llama" else ["cosine"]:
        for method in METHODS:
            losses, norms, rates = train(folder, rows, method, schedule)
            assert sum(losses[-4:]) < 0.97 * sum(losses[:4]), f"hardly anything was learned: {losses}"
            runs[f"{method}.{schedule}"] = {"loss": losses, "grad_norm": norms, "lr": rates}
    norms = [norm for run in runs.values() for norm in run["grad_norm"]]
    assert min(norms) < MAX_NORM < max(norms), f"clipping shows nothing: {min(norms)} {max(norms)}"
    for method in METHODS if name == "llama" else ["dora"]:
        exact = train(folder, rows, method, "cosine", torch.float64)[0]
        run = runs[f"{method}.cosine"]
        rounding = max(abs(loss - true) / true for loss, true in zip(run["loss"], exact, strict=True))
        assert rounding < 1e-5, (method, rounding)
        run["rounding_against_float64"] = float(f"{rounding:.1e}")
    different = [runs[f"{method}.cosine"]["loss"][-1] for method in METHODS]
    assert all(abs(one - other) > 1e-3 * one for at, one in enumerate(different) for other in different[:at]), different
    settings = {
        "seed": SEED,
        "batch_rows": BATCH,
        "max_steps": STEPS,
        "warmup_ratio": WARMUP / STEPS,
        "rank": RANK,
        "alpha": ALPHA,
        "lr": RATE,
        "weight_decay": DECAY,
        "max_grad_norm": MAX_NORM,
        "lora_plus_ratio": RATIO,
    }
    stored = [{"ids": ids, "learned": [label != IGNORED for label in labels]} for ids, labels in rows]
    write_json(out / f"training_{name}.json", {"settings": settings, "rows": stored, "draws": DRAWS, "runs": runs})


if __name__ == "__main__":
    main()
