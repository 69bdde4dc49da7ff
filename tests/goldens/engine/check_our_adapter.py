# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "peft==0.21.2", "safetensors==0.8.0"]
# ///
"""Does an adapter that we wrote mean the same to PEFT? Loads it there in float32 and counts the loss of given rows.

    python check_our_adapter.py MODEL_DIR ADAPTER_DIR ROWS.jsonl [--expect LOSS [--within 0.01]] [--logits OUT.safetensors [--logit-rows N]]

MODEL_DIR is a Hugging Face folder. A row is {"ids": [...], "labels": [...]}, labels beside their ids and -100 where
nothing is learned; a label at position 0 is never predicted and does not count. Prints one JSON object: `loss` (sum of
cross-entropies over all rows / labelled positions), `base_loss` (the same without the adapter), the counts, and
`row_losses` (mean per row, null for a row without labels). With --expect, exits 1 when `loss` is farther off than the
given share of it. --logits stores rowN.logits F32 [positions, vocabulary] of the first rows.

Every tensor of the file must be one that PEFT takes, and every factor that PEFT made must be in the file; PEFT itself
only warns, and goes on with factors of its own.
"""
import argparse
import json
import pathlib
import sys

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file

from reference_model import label_count, load, logits_of, summed_loss


def arguments():
    parser = argparse.ArgumentParser(description="Loss of rows under an adapter, by PEFT.")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("adapter", type=pathlib.Path)
    parser.add_argument("rows", type=pathlib.Path)
    parser.add_argument("--expect", type=float, metavar="LOSS")
    parser.add_argument("--within", type=float, default=0.01, metavar="SHARE")
    parser.add_argument("--logits", type=pathlib.Path, metavar="OUT")
    parser.add_argument("--logit-rows", type=int, default=3, metavar="N")
    return parser.parse_args()


def read_rows(path):
    rows = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            row = json.loads(line)
            if not row["ids"] or len(row["ids"]) != len(row["labels"]):
                sys.exit(f"{path}:{number}: {len(row['ids'])} ids and {len(row['labels'])} labels")
            rows.append((row["ids"], row["labels"]))
    return rows


def load_adapter(folder, adapter):
    model = PeftModel.from_pretrained(load(folder), adapter).eval()
    taken = get_peft_model_state_dict(model)
    with safe_open(adapter / "adapter_model.safetensors", "pt") as stored:
        names = set(stored.keys())
        if names != set(taken):
            sys.exit(f"not taken by PEFT: {sorted(names - set(taken))}; missing in the file: {sorted(set(taken) - names)}")
        for name, value in taken.items():
            if not torch.equal(value, stored.get_tensor(name).to(value.dtype)):
                sys.exit(f"{name}: PEFT holds other values than the file")
    return model


def losses(model, rows):
    """Summed loss of each row."""
    with torch.no_grad():
        return [summed_loss(model, ids, labels).item() if label_count(labels) else 0.0 for ids, labels in rows]


def main():
    options = arguments()
    rows = read_rows(options.rows)
    counts = [label_count(labels) for _, labels in rows]
    total = sum(counts)
    if total == 0:
        sys.exit(f"{options.rows}: no label in {len(rows)} rows")
    model = load_adapter(options.model, options.adapter)
    sums = losses(model, rows)
    with model.disable_adapter():
        base = sum(losses(model, rows)) / total
    loss = sum(sums) / total
    if options.logits:
        with torch.no_grad():
            kept = {f"row{i}.logits": logits_of(model, ids).contiguous() for i, (ids, _) in enumerate(rows[: options.logit_rows])}
        save_file(kept, options.logits)
    result = {
        "loss": loss,
        "base_loss": base,
        "rows": len(rows),
        "tokens": sum(len(ids) for ids, _ in rows),
        "label_tokens": total,
        "row_losses": [value / count if count else None for value, count in zip(sums, counts, strict=True)],
    }
    agrees = options.expect is None or abs(loss - options.expect) <= options.within * abs(options.expect)
    if options.expect is not None:
        result |= {"expected": options.expect, "relative_difference": (loss - options.expect) / options.expect, "agrees": agrees}
    print(json.dumps(result))
    sys.exit(0 if agrees else 1)


if __name__ == "__main__":
    main()
