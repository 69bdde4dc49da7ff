"""Writes a model of LLaMA-2-7B's shape with random weights as a GGUF file in Q4_K: the large row of `bench/run.py`.

    python bench/synthetic_model.py --out synthetic-7b.gguf [--layers 32] [--seed 0]

It knows nothing; what it is for is time and memory, which do not depend on what a weight says. Sub-blocks draw scales of their
own, so that every bit of a block is in use, and the weights have mean 0 and a standard deviation of about 0.02. The vocabulary
has the bytes, the beginnings of the words that `run.py` writes, and fillers. Needs only Python's standard library.
"""

import argparse
import itertools
import os
import random
import struct

from run import WORDS

VOCABULARY, HIDDEN, INTERMEDIATE, HEADS, CONTEXT = 32_000, 4096, 11_008, 32, 4096
ALIGNMENT, F32, Q4_K = 32, 0, 12
BLOCK_VALUES, BLOCK_BYTES = 256, 144
# Blocks that are drawn; rows are cut out of them at random places.
POOL = 1 << 16
UNSIGNED, FLOAT, TEXT, ARRAY, INTEGER = 4, 6, 8, 9, 5


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, value):
    packed = {
        UNSIGNED: lambda: struct.pack("<I", value),
        FLOAT: lambda: struct.pack("<f", value),
        TEXT: lambda: text(value),
    }
    return text(key) + struct.pack("<I", kind) + packed[kind]()


def array(key, kind, values):
    packed = b"".join(map(text, values)) if kind == TEXT else struct.pack(f"<{len(values)}{'f' if kind == FLOAT else 'i'}", *values)
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + packed


def vocabulary():
    """Texts, scores and types: longer beginnings of words join first."""
    special = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    special += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    letters = [chr(code) for code in range(33, 127)] + ["\u2581"]
    begun = {"\u2581" + word[:end] for word in WORDS for end in range(1, len(word) + 1)}
    pieces = [(piece, float(len(piece)), 1) for piece in itertools.chain(letters, sorted(begun))]
    fillers = [(f"\u2581filler{number}", -1.0, 1) for number in range(VOCABULARY - len(special) - len(pieces))]
    return special + pieces + fillers


def block(draw):
    """Values d s (q - 7.5): scale and minimum of a sub-block are one number."""
    scales = [draw.randrange(24, 64) for _ in range(8)]
    low = [scale | (scales[at + 4] >> 4) << 6 for at, scale in enumerate(scales[:4])]
    high = [(scale & 15) | (scale & 15) << 4 for scale in scales[4:]]
    return struct.pack("<ee", 1e-4, 7.5e-4) + bytes(low + low + high) + draw.randbytes(128)


def tensors(layers):
    """Names and shapes; a shape of one number is a vector."""
    yield "token_embd.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", (HIDDEN, HIDDEN)
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{name}.weight", (INTERMEDIATE, HIDDEN)
        yield f"blk.{layer}.ffn_down.weight", (HIDDEN, INTERMEDIATE)
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{layer}.{name}.weight", (HIDDEN,)
    yield "output_norm.weight", (HIDDEN,)
    yield "output.weight", (VOCABULARY, HIDDEN)


def size(shape):
    return shape[0] * 4 if len(shape) == 1 else shape[0] * shape[1] // BLOCK_VALUES * BLOCK_BYTES


def header(layers):
    words = vocabulary()
    number = lambda key, value: entry(key, UNSIGNED, value)  # noqa: E731
    metadata = [
        entry("general.architecture", TEXT, "llama"),
        entry("general.name", TEXT, "synthetic"),
        number("general.alignment", ALIGNMENT),
        number("llama.context_length", CONTEXT),
        number("llama.embedding_length", HIDDEN),
        number("llama.feed_forward_length", INTERMEDIATE),
        number("llama.block_count", layers),
        number("llama.attention.head_count", HEADS),
        number("llama.attention.head_count_kv", HEADS),
        number("llama.rope.dimension_count", HIDDEN // HEADS),
        entry("llama.attention.layer_norm_rms_epsilon", FLOAT, 1e-5),
        entry("tokenizer.ggml.model", TEXT, "llama"),
        array("tokenizer.ggml.tokens", TEXT, [word for word, _, _ in words]),
        array("tokenizer.ggml.scores", FLOAT, [score for _, score, _ in words]),
        array("tokenizer.ggml.token_type", INTEGER, [kind for _, _, kind in words]),
        number("tokenizer.ggml.bos_token_id", 1),
        number("tokenizer.ggml.eos_token_id", 2),
    ]
    infos, offset = [], 0
    for name, shape in tensors(layers):
        kind = F32 if len(shape) == 1 else Q4_K
        infos.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *reversed(shape), kind, offset))
        offset += -(-size(shape) // ALIGNMENT) * ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(metadata)) + b"".join(metadata + infos)
    return head + bytes(-len(head) % ALIGNMENT)


def write(path, layers, seed):
    """To a temporary sibling first: a file of this name is whole."""
    draw = random.Random(seed)
    pool = b"".join(block(draw) for _ in range(POOL))
    temporary = f"{path}.part"
    with open(temporary, "wb") as file:
        file.write(header(layers))
        for _, shape in tensors(layers):
            if len(shape) == 1:
                file.write(struct.pack("<f", 1.0) * shape[0])
                continue
            length = shape[1] // BLOCK_VALUES * BLOCK_BYTES
            starts = (draw.randrange(POOL - length // BLOCK_BYTES) * BLOCK_BYTES for _ in range(shape[0]))
            file.writelines(pool[start : start + length] for start in starts)
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.out, arguments.layers, arguments.seed)


if __name__ == "__main__":
    main()
