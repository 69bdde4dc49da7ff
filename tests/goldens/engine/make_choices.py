# /// script
# requires-python = ">=3.11"
# dependencies = ["torch==2.15.0", "transformers==5.23.0", "lm-eval==0.4.13"]
# ///
"""Multiple choice scored by lm-evaluation-harness itself, on the tiny model and on SmolLM2-135M-Instruct.

    python make_choices.py TINY_DIR SMOLLM2_HF_DIR OUT_DIR

Writes choices.json: per model six contexts with four continuations each; for every pair the ids as the harness splits
them, the summed log-likelihood, whether the continuation is the greedy one, and per token the log-likelihood (ours, from
the same model one sequence at a time; its sum is checked against the harness). The contexts cover the harness's own
rules: white space at the end of a context moves to the continuation; an empty context becomes the prefix token; the
continuation is what the whole text's ids hold beyond the *count* of the context's ids, also where the boundary merges
(so "hypo" + "thyroidism today" scores " today" alone with SmolLM2; where nothing is left the harness stops with an
assertion, and no such pair is here); and what is too long is cut on the left.
"""
import pathlib
import sys

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from reference_model import write_json

LETTERS = [" A", " B", " C", " D"]
QUESTION = (
    "Question: Which vitamin is made in the skin under sunlight?\n"
    "A. Vitamin A\nB. Vitamin B12\nC. Vitamin C\nD. Vitamin D\nAnswer:"
)
LONG_NOTE = "The patient is a 54-year-old woman who takes metformin and lisinopril and reports no chest pain, no fever and no cough. "

SHARED = [
    ("letters", QUESTION, LETTERS),
    ("answers of unequal length", "Question: Which organ makes insulin?\nAnswer:", [" the pancreas", " the liver and the gallbladder", " kidney", " the left atrium of the heart"]),
    ("white space at the end of the context", "The drug that was discontinued is:\n ", ["warfarin", "aspirin", "metformin 500 mg", "β-blocker"]),
    ("empty context", "", ["The patient", "Insulin lowers the glucose", "\n", "naïve T-cells"]),
    ("boundary inside a word", "The diagnosis is hypo", ["tension", "glycaemia", "thyroidism today", "kalaemia."]),
]
TINY = SHARED + [("cut on the left", LONG_NOTE * 8 + "Question: does she have a fever?\nAnswer:", [" no", " yes", " maybe", " The note says no fever."])]
SMOLLM2 = SHARED + [("text", "The heart pumps blood through the lungs, where it", [" picks up oxygen", " is oxygenated", " loses oxygen and gains carbon dioxide", " sleeps"])]
# The tiny model is random, so its greedy continuation is read off it: this many tokens in place of the last choice.
GREEDY_TOKENS = {"letters": 1, "answers of unequal length": 2}
SMALLEST_MARGIN = 1e-3


class Scored:
    """The harness's model of one folder."""

    def __init__(self, folder):
        self.harness = HFLM(pretrained=str(folder), dtype="float32", device="cpu", batch_size=1, attn_implementation="eager")
        self.model, self.tokenizer = self.harness.model.eval(), self.harness.tokenizer

    def split(self, context, continuation):
        """The two id lists, by the harness's own rule."""
        if context:
            return self.harness._encode_pair(context, continuation)
        ids = self.harness.tok_encode(continuation, add_special_tokens=False)
        assert ids[0] != self.harness.prefix_token_id
        return [self.harness.prefix_token_id], ids

    def logits(self, ids):
        with torch.no_grad():
            return self.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]

    def greedy_text(self, context, count):
        """The model's own next tokens as text that comes back as the same ids."""
        head, _ = self.split(context, " x")
        ids = list(head)
        for _ in range(count):
            ids.append(self.logits(ids)[-1].argmax().item())
        text = self.tokenizer.decode(ids[len(head) :])
        assert self.split(context, text) == (head, ids[len(head) :]), text
        return text

    def tokens(self, head, tail):
        """Log-likelihood of each token of `tail`, whether all are greedy (by a clear margin), and whether the head was cut."""
        longest = self.harness.max_length
        logits = self.logits((head + tail)[-(longest + 1) :][:-1])[-len(tail) :]
        target = torch.tensor(tail)[:, None]
        likelihoods = logits.log_softmax(dim=-1).gather(1, target)[:, 0]
        best = logits.topk(2).values
        own = logits.gather(1, target)[:, 0]
        greedy = bool((own == best[:, 0]).all())
        margin = (best[:, 0] - best[:, 1]).min() if greedy else (best[:, 0] - own).max()
        assert margin > SMALLEST_MARGIN, margin
        return likelihoods.tolist(), greedy, len(head) + len(tail) > longest + 1


def score(folder, contexts, greedy_tokens):
    scored = Scored(folder)
    contexts = [
        (note, context, choices[:3] + [scored.greedy_text(context, greedy_tokens[note])] if note in greedy_tokens else choices)
        for note, context, choices in contexts
    ]
    pairs = [(context, choice) for _, context, choices in contexts for choice in choices]
    requests = [Instance("loglikelihood", {}, pair, index) for index, pair in enumerate(pairs)]
    answers = iter(scored.harness.loglikelihood(requests, disable_tqdm=True))
    rows = []
    for note, context, choices in contexts:
        row = {"note": note, "context": context, "choices": []}
        for choice in choices:
            likelihood, is_greedy = next(answers)
            head, tail = scored.split(context, choice)
            per_token, greedy, truncated = scored.tokens(head, tail)
            assert greedy == is_greedy and abs(sum(per_token) - likelihood) < 1e-5 * max(1.0, abs(likelihood)), (choice, per_token, likelihood)
            row["choices"].append(
                {
                    "continuation": choice,
                    "context_ids": head,
                    "continuation_ids": tail,
                    "truncated": truncated,
                    "loglikelihood": likelihood,
                    "is_greedy": is_greedy,
                    "token_loglikelihoods": per_token,
                }
            )
        rows.append(row)
    assert any(choice["is_greedy"] for row in rows for choice in row["choices"]), "no choice is greedy"
    return {"max_length": scored.harness.max_length, "prefix_token_id": scored.harness.prefix_token_id, "contexts": rows}


def main():
    tiny, smollm2, out = (pathlib.Path(argument) for argument in sys.argv[1:4])
    torch.set_num_threads(2)
    settings = {"dtype": "float32", "attention": "eager", "harness": "lm-eval 0.4.13, HFLM, batch size 1"}
    models = {"tiny-llama": score(tiny, TINY, GREEDY_TOKENS), "smollm2": score(smollm2, SMOLLM2, {})}
    truncated = [choice["truncated"] for row in models["tiny-llama"]["contexts"] for choice in row["choices"]]
    assert any(truncated)
    write_json(out / "choices.json", settings | {"models": models})


if __name__ == "__main__":
    main()
