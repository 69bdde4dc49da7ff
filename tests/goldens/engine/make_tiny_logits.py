# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "safetensors==0.8.0"]
# ///
"""Logits of the two tiny models on fixed random ids.

    python make_tiny_logits.py UNTIED_DIR TIED_DIR OUT_DIR

Writes tiny_logits.safetensors (seqN.ids I64 [n], seqN.logits F32 [n, 512], N = 0, 1, 2, lengths 5, 17, 33, and for the
tied model tied.ids, tied.logits, length 17) and tiny_logits.json (settings and the rounding of the oracle itself).
"""
import pathlib
import sys

import torch
from safetensors.torch import save_file

from reference_model import load, logits_of, write_json

SEED = 41
LENGTHS = [5, 17, 33]
TIED_LENGTH = 17
FIRST_ORDINARY_ID = 3  # the ids below are the special tokens


def draw_ids(length, vocabulary, generator):
    return torch.randint(FIRST_ORDINARY_ID, vocabulary, (length,), generator=generator).tolist()


def relative_rounding(single, double):
    """Largest difference between f32 and f64 logits, over the largest logit."""
    return ((single.double() - double).abs().max() / double.abs().max()).item()


def main():
    untied, tied, out = (pathlib.Path(argument) for argument in sys.argv[1:4])
    generator = torch.Generator().manual_seed(SEED)
    tensors, rounding = {}, {}
    for folder, names in [(untied, [(f"seq{i}", n) for i, n in enumerate(LENGTHS)]), (tied, [("tied", TIED_LENGTH)])]:
        model, exact = load(folder), load(folder, torch.float64)
        for name, length in names:
            ids = draw_ids(length, model.config.vocab_size, generator)
            with torch.no_grad():
                logits, true = logits_of(model, ids), logits_of(exact, ids)
            rounding[name] = relative_rounding(logits, true)
            assert rounding[name] < 2e-6, (name, rounding[name])
            assert logits.std(dim=-1).min() > 0.3, "degenerate logits"
            tensors[f"{name}.ids"] = torch.tensor(ids)
            tensors[f"{name}.logits"] = logits.contiguous()
    save_file(tensors, out / "tiny_logits.safetensors")
    write_json(
        out / "tiny_logits.json",
        {
            "models": {"seq0..seq2": "tests/fixtures/tiny-llama", "tied": "tests/fixtures/tiny-llama-tied"},
            "seed": SEED,
            "dtype": "float32",
            "attention": "eager",
            "lengths": LENGTHS,
            "tied_length": TIED_LENGTH,
            "rounding_against_float64": {name: float(f"{value:.1e}") for name, value in rounding.items()},
        },
    )


if __name__ == "__main__":
    main()
