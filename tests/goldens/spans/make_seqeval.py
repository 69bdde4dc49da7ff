"""Writes seqeval.json: the chunks and scores that seqeval gives for random tag sequences.

A third of the sequences is well-formed IOB2; the others open names with I- as well, which seqeval's default mode accepts.
Needs seqeval 1.2.2; no network. Run: python make_seqeval.py
"""

import json
import pathlib
import random

from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

KINDS = ("Chemical", "Disease", "Cell-Line")


def tags(draw, length, well_formed):
    found = []
    for _ in range(length):
        kind = draw.choice(KINDS)
        tag = draw.choice(("O", "O", f"B-{kind}", f"I-{kind}", "again"))
        if tag == "again" or (well_formed and tag.startswith("I-")):
            last = found[-1] if found else "O"
            tag = "O" if last == "O" else "I-" + last[2:]
        found.append(tag)
    return found


def changed(draw, gold):
    return [draw.choice((tag, tag, tag, "O", f"B-{draw.choice(KINDS)}")) for tag in gold]


def main():
    draw = random.Random(7)
    golds, guesses = [], []
    for number in range(240):
        gold = tags(draw, draw.randint(1, 14), number % 3 == 0)
        golds.append(gold)
        guesses.append(changed(draw, gold))
    sentences = [
        {"gold": gold, "predicted": guess, "chunks": [list(chunk) for chunk in get_entities(guess)]}
        for gold, guess in zip(golds, guesses)
    ]
    golden = {
        "precision": float(precision_score(golds, guesses)),
        "recall": float(recall_score(golds, guesses)),
        "f1": float(f1_score(golds, guesses)),
        "sentences": sentences,
    }
    lines = ",\n  ".join(json.dumps(sentence) for sentence in golden.pop("sentences"))
    head = json.dumps(golden)[:-1]
    path = pathlib.Path(__file__).with_name("seqeval.json")
    path.write_text(f'{head}, "sentences": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
