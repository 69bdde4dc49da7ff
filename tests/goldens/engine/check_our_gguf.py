"""Our exported GGUF files in llama.cpp: greedy text, perplexity, and the adapter applied by llama.cpp itself.

Usage: check_our_gguf.py OURS MODEL.gguf INPUT.json [--precision f32|stored] [--base BASE.gguf --adapter ADAPTER.gguf --peft DIR]

OURS is the built example `greedy_and_likelihood`. Without --adapter, MODEL.gguf is read by both programs; with it, MODEL.gguf is not
used: we run BASE with the PEFT directory, llama.cpp runs BASE with ADAPTER.gguf. INPUT.json: `{"prompts": [...], "max_tokens": N, "texts": [...]}`.
Prints, for each prompt, how many of the first tokens are the same, and for the texts both perplexities over the same ids.
Made with: python 3.11, llama-cpp-python 0.3.36 (its CPU backend), numpy 2.4.6
"""

import argparse
import json
import math
import subprocess
import tempfile

import llama_cpp
import numpy as np


def evaluate(llama, ids):
    """The logits after every token of `ids`, read at once."""
    llama.reset()
    llama.eval(ids)
    return np.array(llama.scores[: len(ids)], dtype=np.float64)


def greedy(llama, prompt, limit, ends):
    llama.reset()
    llama.eval(prompt)
    ids = []
    while len(ids) < limit:
        best = int(np.argmax(llama.scores[llama.n_tokens - 1]))
        ids.append(best)
        if best in ends:
            break
        llama.eval([best])
    return ids


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ours")
    parser.add_argument("model")
    parser.add_argument("input")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--base")
    parser.add_argument("--adapter")
    parser.add_argument("--peft")
    parser.add_argument("--ends", default="2,0")
    arguments = parser.parse_args()
    model = arguments.base or arguments.model
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [arguments.ours, model, arguments.input, out.name, arguments.precision]
        subprocess.run(command + ([arguments.peft] if arguments.peft else []), check=True)
        ours = json.load(open(out.name))
    wanted = json.load(open(arguments.input))
    llama = llama_cpp.Llama(model, n_ctx=2048, n_batch=2048, n_ubatch=2048, logits_all=True, verbose=False, lora_path=arguments.adapter, seed=1)
    ends = {int(end) for end in arguments.ends.split(",")}
    whole = first = 0
    for text, reply in zip(wanted["prompts"], ours["replies"], strict=True):
        theirs = llama.tokenize(text.encode(), add_bos=False, special=False)
        assert theirs == reply["prompt_ids"], (theirs, reply["prompt_ids"])
        ids = greedy(llama, theirs, wanted["max_tokens"], ends)
        same = next((at for at, (left, right) in enumerate(zip(ids, reply["ids"])) if left != right), min(len(ids), len(reply["ids"])))
        whole += ids == reply["ids"]
        first += ids[:16] == reply["ids"][:16]
        print(f"prompt of {len(theirs)} tokens: {same} of {len(ids)} the same")
    sums = {"ours": 0.0, "llama.cpp": 0.0}
    count = 0
    for text in ours["texts"]:
        logits = evaluate(llama, text["ids"])[:-1]
        greatest = logits.max(axis=1, keepdims=True)
        logs = logits - greatest - np.log(np.exp(logits - greatest).sum(axis=1, keepdims=True))
        sums["llama.cpp"] += logs[np.arange(len(logs)), text["ids"][1:]].sum()
        sums["ours"] += sum(text["likelihoods"])
        count += len(logs)
    perplexity = {name: math.exp(-total / count) for name, total in sums.items()}
    print(json.dumps({"prompts": len(ours["replies"]), "whole_text_equal": whole, "first_16_equal": first, "tokens": count,
                      "perplexity": perplexity, "ratio": perplexity["ours"] / perplexity["llama.cpp"]}))


if __name__ == "__main__":
    main()
