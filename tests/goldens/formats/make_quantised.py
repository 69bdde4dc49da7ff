"""Small random rows of every quantised type that the engine reads, and their values, for the tests of its formats.

Usage: make_quantised.py   (writes quantised.json beside itself)
Made with: python 3.11, gguf 0.19.0, numpy 2.4.6

Blocks are random bytes, so that every bit of every field occurs, but the half-precision scales: those are drawn from a list
with both signs, both zeros, subnormals and the greatest number. A row is 512 values: `bytes` in hexadecimal, `values` as
the bits of each float32 (8 hexadecimal digits, big end first) by gguf.quants.dequantize.
"""

import json
import pathlib

import gguf
import numpy as np

COLUMNS = 512
# byte offsets of the half-precision fields in a block
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
SPECIAL = np.array([0.0, -0.0, 2.0**-24, -1023 * 2.0**-24, 65504.0, -65504.0, 1.0], dtype=np.float16)


def main():
    random = np.random.default_rng(20261123)
    result = {"gguf": "0.19.0", "columns": COLUMNS, "types": {}}
    for name, offsets in HALVES.items():
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        rows = []
        for _ in range(3):
            blocks = random.integers(0, 256, (COLUMNS // elements, size), dtype=np.uint8)
            for offset in offsets:
                halves = (random.standard_normal(len(blocks)) * 0.05).astype(np.float16)
                special = random.random(len(blocks)) < 0.3
                halves[special] = random.choice(SPECIAL, special.sum())
                blocks[:, offset : offset + 2] = halves.view(np.uint8).reshape(-1, 2)
            values = gguf.quants.dequantize(blocks.reshape(1, -1), kind).reshape(-1)
            assert values.dtype == np.float32 and len(values) == COLUMNS and np.isfinite(values).all()
            bits = "".join(f"{value:08x}" for value in values.view(np.uint32))
            rows.append({"bytes": blocks.tobytes().hex(), "values": bits})
        result["types"][name] = rows
    text = json.dumps(result, indent=0, separators=(",", ":"))
    (pathlib.Path(__file__).parent / "quantised.json").write_text(text + "\n")


main()
