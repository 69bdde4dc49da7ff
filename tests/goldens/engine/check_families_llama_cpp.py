# /// script
# requires-python = ">=3.11"
# dependencies = ["llama-cpp-python==0.3.36", "numpy", "safetensors==0.8.0"]
# ///
"""Whether llama.cpp reads the tiny GGUF files as they are meant: its logits against transformers' goldens.

    python check_families_llama_cpp.py FAMILIES_DIR GOLDENS_DIR

FAMILIES_DIR is tests/fixtures/tiny-families, GOLDENS_DIR tests/goldens/engine/families. Writes nothing; prints the relative
error of each family and fails when one is large. Mistral is left out: llama.cpp's `llama` architecture has no window.
"""
import pathlib
import sys

import llama_cpp
import numpy
from safetensors.numpy import load_file

LIMIT = 1e-5
WITHOUT_WINDOW = "mistral"


def logits(path, ids):
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
    assert model, path
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 128
    settings.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
    context = llama_cpp.llama_init_from_model(model, settings)
    assert context, path
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for at, token in enumerate(ids):
        batch.token[at], batch.pos[at], batch.n_seq_id[at], batch.seq_id[at][0], batch.logits[at] = int(token), at, 1, 0, 1
    assert llama_cpp.llama_decode(context, batch) == 0
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    found = numpy.array([llama_cpp.llama_get_logits_ith(context, at)[:vocabulary] for at in range(len(ids))])
    llama_cpp.llama_batch_free(batch)
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return found


def main():
    families, goldens = (pathlib.Path(argument) for argument in sys.argv[1:3])
    llama_cpp.llama_backend_init()
    worst = 0.0
    for path in sorted(families.glob("*.gguf")):
        if path.stem == WITHOUT_WINDOW:
            continue
        golden = load_file(goldens / f"{path.stem}.safetensors")
        for name in ("seq0", "seq1"):
            expected = golden[f"{name}.base"]
            found = logits(path, golden[f"{name}.ids"])
            error = numpy.linalg.norm(found - expected) / numpy.linalg.norm(expected)
            print(f"{path.stem} {name}: {error:.1e}")
            worst = max(worst, error)
    assert worst < LIMIT, worst


if __name__ == "__main__":
    main()
