"""Small weights in bitsandbytes' NF4 as its own functions store them, for the tests of reading and writing that layout.

Usage: make_nf4.py   (writes nf4/model.safetensors and nf4/expected.safetensors beside itself)
Made with: python 3.11, bitsandbytes 0.50.2 (its CPU functions), torch 2.15.0, safetensors 0.8.0

model.safetensors holds what a quantised checkpoint holds of three weights: `plain` [6, 128] with plain scales, `nested` [300, 64]
with double quantisation (two outer blocks, the second one short), `across` [4, 96], whose blocks of 64 run across rows.
expected.safetensors holds, for each, `NAME.values` (the float32 weights that were quantised) and `NAME.read` (what
dequantize_4bit makes of them in float32).
"""

import pathlib

import bitsandbytes.functional as bnb
import torch
from safetensors.torch import save_file

SHAPES = {"plain": (6, 128), "nested": (300, 64), "across": (4, 96)}


def main():
    torch.manual_seed(20261125)
    stored, expected = {}, {}
    for name, shape in SHAPES.items():
        values = torch.randn(shape) * torch.rand(shape[0], 1) * 0.1
        codes, state = bnb.quantize_4bit(values, blocksize=64, compress_statistics=name == "nested", quant_type="nf4")
        stored[f"{name}.weight"] = codes
        for key, value in state.as_dict(packed=True).items():
            stored[f"{name}.weight.{key}"] = value
        expected[f"{name}.values"] = values
        expected[f"{name}.read"] = bnb.dequantize_4bit(codes, state)
    folder = pathlib.Path(__file__).parent / "nf4"
    folder.mkdir(exist_ok=True)
    save_file(stored, folder / "model.safetensors")
    save_file(expected, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
