"""Writes what the reference loops keep of 400 rows, for the dialects of the `curate` crate.

Pinned: Python 3.11, rouge-score==0.1.2. The rows are made here from this script's own word lists with a fixed seed.

    python3 -m venv venv && venv/bin/pip install rouge-score==0.1.2
    venv/bin/python make_dialects.py       # rewrites dialects.json beside it

The loops are written anew after the published programs, with their Python primitives (`str.split`, `re` with `\\b`,
`string.punctuation`, `rouge_score`), so that our filters are held to what those primitives do with odd texts:

paper          Tran et al. 2024, section 3.1; plurals of its three words; a dropped row joins no pool
alpaca         stanford_alpaca, generate_instruction.py
self-instruct  self-instruct, bootstrap_instructions.py, then the checks of prepare_for_finetuning.py
alpacare       AlpaCare, filter.py

dialects.json: "seeds" (instructions), "rows" ([instruction, input, output]), "kept" (positions by dialect).
"""

import json
import pathlib
import random
import re
import string

from rouge_score import rouge_scorer

HERE = pathlib.Path(__file__).resolve().parent
SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)

SHORT = ["image", "images", "picture", "pictures", "graph", "graphs"]
SELF_INSTRUCT = SHORT + ["file", "files", "map", "maps", "draw", "plot", "go to"]
ALPACA = SELF_INSTRUCT + ["video", "audio", "music", "flowchart", "diagram"]

GOOD_VERBS = ["List", "Explain", "Summarise", "Rewrite", "Describe", "Name", "Compare"]
ODD_VERBS = ["Draw", "- Name", "Ändere", "write a program for", "Write a program for", "\u200bShow", "“Quote", "1) Count"]
GOOD_WORDS = """the a of for with and in to every drug dose aspirin patient fever β-blocker paragraph naïve TNF-α 4.5 mg twice
 daily note visit plan kidney lung doctor nurse leaflet symptom cause sign early late treatment risk benefit trial result
 mother child week year hospital question answer simple words table reason evidence blood pressure""".split()
ODD_WORDS = """MAP image Image-based graph_2 graph picture, (pictures) plot go\u00a0to İmage ımages Kelvin\u212a files mapſ
 file: video diagram. audio music flowchart draw_blood telegraph drawn""".split(" ") + ["go to", "Go To."]
SPACES = [" ", " ", " ", " ", " ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u001f", "\u0085"]
SIDES = ["", "", "x", "x ", " x", "Drugs:", "a  b", "a b", "\u00a0", "Blood:\n", "β"]


def a_word(rng):
    return rng.choice(GOOD_WORDS if rng.random() < 0.97 else ODD_WORDS)


def make_rows(rng):
    rows = []
    for _ in range(400):
        if rows and rng.random() < 0.3:
            words = rng.choice(rows)[0].split(" ")
            for _ in range(rng.randrange(4)):
                words[rng.randrange(len(words))] = a_word(rng)
            instruction = " ".join(words)
        else:
            length = rng.choice([1, 2, 3, 4, 6, 9, 12, 12, 15, 18, 20, 24, 149, 150, 151])
            instruction = rng.choice(GOOD_VERBS if rng.random() < 0.8 else ODD_VERBS)
            for _ in range(length - 1):
                instruction += rng.choice(SPACES) + a_word(rng)
        rows.append((instruction, rng.choice(SIDES), rng.choice(SIDES + ["y", "z"] * 6)))
    return rows


def f_measures(tokens, pool):
    return [rouge_scorer._score_lcs(tokens, other).fmeasure for other in pool]


def tokens_of(text):
    return SCORER._tokenizer.tokenize(text)


def holds(words, text):
    return any(re.search(rf"\b{re.escape(word)}\b", text, flags=re.IGNORECASE) for word in words)


def begins_badly(text):
    return text.startswith("Write a program") or text[0] in string.punctuation or not text[0].isascii()


def paper(rows, seeds):
    pool, kept, seen = [tokens_of(seed) for seed in seeds], [], set()
    for position, row in enumerate(rows):
        instruction, given, output = row
        words = len(instruction.split())
        same = " ".join(given.split()) == " ".join(output.split())
        if row in seen or not output.strip() or words < 3 or words > 150 or holds(SHORT, instruction) or same:
            continue
        tokens = tokens_of(instruction)
        if max(f_measures(tokens, pool), default=0.0) < 0.7:
            kept.append(position)
            pool.append(tokens)
            seen.add(row)
    return kept


def reference_loop(rows, seeds, blacklist):
    pool, kept = [tokens_of(seed) for seed in seeds], []
    for position, (instruction, _, _) in enumerate(rows):
        words = len(instruction.split())
        if words <= 3 or words > 150 or holds(blacklist, instruction) or begins_badly(instruction):
            continue
        tokens = tokens_of(instruction)
        if max(f_measures(tokens, pool)) > 0.7:
            continue
        kept.append(position)
        pool.append(tokens)
    return kept


def self_instruct(rows, seeds):
    kept = []
    for position in reference_loop(rows, seeds, SELF_INSTRUCT):
        _, given, output = rows[position]
        # The published check for an empty output is `== ""`; ours also drops one of white space alone.
        if given == output or output.strip() == "" or given.strip().endswith(":") or output.strip().endswith(":"):
            continue
        kept.append(position)
    return kept


def alpacare(rows):
    tokens = [tokens_of(row[0]) for row in rows]
    kept = []
    for position, one in enumerate(tokens):
        others = tokens[:position] + tokens[position + 1:]
        if max(f_measures(one, others)) <= 0.7:
            kept.append(position)
    return kept


def main():
    rng = random.Random(20240606)
    rows = make_rows(rng)
    seeds = [row[0] for row in make_rows(rng)[:25] if tokens_of(row[0])]
    kept = {
        "paper": paper(rows, seeds),
        "alpaca": reference_loop(rows, seeds, ALPACA),
        "self-instruct": self_instruct(rows, seeds),
        "alpacare": alpacare(rows),
    }
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = '{"seeds": %s,\n"kept": %s,\n"rows": [\n%s\n]}\n' % (json.dumps(seeds), json.dumps(kept), lines)
    (HERE / "dialects.json").write_text(text)
    print({name: len(positions) for name, positions in kept.items()})


if __name__ == "__main__":
    main()
