"""A matrix of weights, what ggml's own quantisers make of it, and how far that is off, for the tests of ours.

Usage: make_quantisers.py   (writes quantisers.json beside itself)
Made with: python 3.11, llama-cpp-python 0.3.36 (its ggml through ctypes), gguf 0.19.0, numpy 2.4.6

`values`: [16, 256] normal weights of different sizes, one with an outlier, one of one sign, as the bits of each float32 (8 hexadecimal
digits); `q8_0`: ggml's bytes; `errors`: for each type the root mean square of ggml's error over that of the values.
"""

import ctypes
import glob
import json
import os
import pathlib

import gguf
import llama_cpp
import numpy as np

TYPES = ["Q8_0", "Q6_K", "Q5_0", "Q4_K"]


def main():
    (library,) = glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
    quantise = ctypes.CDLL(library).ggml_quantize_chunk
    quantise.restype = ctypes.c_size_t
    quantise.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + 3 * [ctypes.c_int64] + [ctypes.c_void_p]
    random = np.random.default_rng(20261125)
    values = (random.standard_normal((16, 256)) * np.exp(random.standard_normal((16, 1))) * 0.03).astype(np.float32)
    values[3, 77] = 2.0
    values[4] = np.abs(values[4])
    result = {"values": ["".join(f"{bits:08x}" for bits in row.view(np.uint32)) for row in values], "errors": {}}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        stored = np.zeros(values.size // elements * size, dtype=np.uint8)
        written = quantise(int(kind), values.ctypes.data, stored.ctypes.data, 0, *values.shape, None)
        assert written == stored.size, (written, stored.size)
        if name == "Q8_0":
            result["q8_0"] = stored.tobytes().hex()
        read = gguf.quants.dequantize(stored.reshape(len(values), -1), kind)
        result["errors"][name] = float(np.sqrt(np.mean((read - values) ** 2.0) / np.mean(values**2.0)))
    path = pathlib.Path(__file__).parent / "quantisers.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
