"""Writes novelty_join.json: which rows the scripts of Stanford Alpaca, Self-Instruct and the paper's rule keep.

Pinned: Python 3.11, rouge-score==0.1.2. Some minutes on one core.

    python3 make_join.py ../../../../shared/data        # the folder of public data sets; rewrites the file beside this script

Two sets of rows. `medquad`: the questions of every fifth row of MedQuAD, the first 3,000 of them; only positions are written
here, the texts stay where they are. `ties`: 5,000 rows made by the generator below, which the test repeats, most of them at
F = 0.7 or one token off it to an earlier one. For each set and script the kept rows as a number in hexadecimal, row r being bit
r. `alpaca` scores token lists with `_score_lcs` and drops what is above 0.7, as generate_instruction.py does; `self-instruct`
calls `scorer.score` on the texts and drops what is above 0.7, as bootstrap_instructions.py does; `paper` keeps what is below
0.7. No seeds.
"""
import gzip
import json
import pathlib
import sys

from rouge_score import rouge_scorer

HERE = pathlib.Path(__file__).resolve().parent
SCORER = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)


class Generator:
    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound


def tie_row(generator, earlier):
    if not earlier or generator.below(4) == 0:
        length = 5 + generator.below(12)
        return [generator.below(400) for _ in range(length)]
    base = earlier[generator.below(len(earlier))]
    m = len(base)
    lengths = [n for n in range(1, 41) if 7 * (m + n) % 20 == 0 and 7 * (m + n) // 20 <= min(m, n)]
    if not lengths:
        copy = list(base)
        copy[generator.below(m)] = generator.below(400)
        return copy
    n = lengths[generator.below(len(lengths))]
    common = 7 * (m + n) // 20
    change = generator.below(6)
    if change == 0 and common > 1:
        common -= 1
    elif change == 1 and common < min(m, n):
        common += 1
    shared = []
    for place in range(m):
        if generator.below(m - place) < common - len(shared):
            shared.append(base[place])
    row, used = [], 0
    for place in range(n):
        if generator.below(n - place) < common - used:
            row.append(shared[used])
            used += 1
        else:
            row.append(400 + generator.below(10000))
    return row


def tie_rows():
    generator, rows = Generator(7), []
    for _ in range(5000):
        rows.append(tie_row(generator, rows))
    return [" ".join(f"w{token}" for token in row) for row in rows]


def medquad_rows(data):
    with gzip.open(data / "medquad" / "medquad_answered.jsonl.gz", "rt", encoding="utf-8") as file:
        questions = [json.loads(line)["question"] for line in file]
    return questions[::5][:3000]


def keep(texts, drops):
    tokens = [SCORER._tokenizer.tokenize(text) for text in texts]
    kept = []
    for row, own in enumerate(tokens):
        scores = [rouge_scorer._score_lcs(own, tokens[other]).fmeasure for other in kept]
        if not scores or not drops(max(scores)):
            kept.append(row)
    return kept


def keep_by_score(texts):
    kept = []
    for row, text in enumerate(texts):
        scores = [SCORER.score(text, texts[other])["rougeL"].fmeasure for other in kept]
        if not scores or not max(scores) > 0.7:
            kept.append(row)
    return kept


def written(kept):
    return f"{sum(1 << row for row in kept):x}"


if __name__ == "__main__":
    sets = {"medquad": medquad_rows(pathlib.Path(sys.argv[1])), "ties": tie_rows()}
    out = {}
    for name, texts in sets.items():
        kept = {"alpaca": keep(texts, lambda f: f > 0.7), "paper": keep(texts, lambda f: f >= 0.7)}
        kept["self-instruct"] = keep_by_score(texts)
        print(name, len(texts), {script: len(rows) for script, rows in kept.items()}, flush=True)
        out[name] = {"rows": len(texts), **{script: written(rows) for script, rows in kept.items()}}
    (HERE / "novelty_join.json").write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")
