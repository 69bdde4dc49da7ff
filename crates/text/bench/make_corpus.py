"""Builds the row sets on which the novelty join is measured, from the public data folder.

    python3 make_corpus.py DATA KIND ROWS OUT.jsonl        (Python 3.9 or later, no packages)

KIND  questions   the questions of MedQuAD, MedMCQA, MedQA and PubMedQA as they stand, in a seeded order (22,863 at most)
      varied      those questions, and sentences of the MedQuAD answers and PubMedQA contexts, each in one of 24 wordings
      templated   the MedQuAD questions with their subject put into one of 24 short wordings: mostly near-copies

Rows are {"instruction": …}, the form that `rouge_filter.py`-like scripts and the example `novelty_join` read. The order and
the choices come from a generator written out below, so that a set is the same with every version of Python.
"""
import gzip
import json
import pathlib
import re
import sys

WRAPPERS = [
    "{}", "{}", "{}", "Answer the question of a patient: {}", "Explain in plain words: {}", "{} Answer briefly.",
    "Consider the following and say whether it is correct. {}", "Rewrite for a patient leaflet: {}",
    "Which evidence supports this? {}", "{} Give the reasoning step by step.", "Translate into everyday language: {}",
    "As a nurse, respond to this: {}", "Write a short note on the following text. {}", "List the key terms in: {}",
    "{} What should be done next?", "Extract every disease named in this passage: {}", "{} Name the drugs mentioned.",
    "Turn the statement into a question for students: {}", "Summarize in one line: {}", "Find the error, if there is one: {}",
    "{} Reply in at most three sentences.", "Discuss the clinical meaning of this finding: {}",
    "You are a medical educator. {}", "Paraphrase without changing any number: {}",
]
SUBJECTS = [
    "What are the symptoms of {}?", "How is {} treated?", "What causes {}?", "Who is at risk for {}?", "Describe {}.",
    "What are the first signs of {} in adults?", "Explain how {} is diagnosed.", "Can {} be prevented?", "Is {} inherited?",
    "List the complications of {}.", "What is the outlook for people with {}?", "How common is {}?",
    "Give three questions to ask a doctor about {}.", "Which tests are used when {} is suspected?",
    "Write a paragraph for a leaflet on {}.", "Name the drugs given for {}.", "When should someone with {} seek urgent care?",
    "Outline the stages of {}.", "What research is being done on {}?", "How does {} affect daily life?",
    "Summarize what is known about {}.", "Which genes are related to {}?", "What should a person with {} eat?",
    "Tell a child what {} is.",
]


class Generator:
    """A 64-bit linear congruential generator (Knuth's MMIX constants), high bits used."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def shuffle(self, items):
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def medquad(data):
    with gzip.open(data / "medquad" / "medquad_answered.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def questions(data):
    found = [row["question"] for row in medquad(data)]
    found += [row["question"] for row in lines(data / "medmcqa" / "dev.json")]
    found += [row["question"] for row in lines(data / "medqa" / "phrases_no_exclude_test.jsonl")]
    pubmedqa = json.loads((data / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    return found + [row["QUESTION"] for row in pubmedqa.values()]


def sentences(data):
    texts = [row["answer"] for row in medquad(data)]
    pubmedqa = json.loads((data / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    texts += [context for row in pubmedqa.values() for context in row["CONTEXTS"]]
    parts = (part.strip() for text in texts for part in re.split(r"(?<=[.!?])\s+", text))
    return [part for part in parts if 6 <= len(part.split()) <= 60]


def rows(kind, data, count):
    generator = Generator(2024)
    if kind == "questions":
        base = questions(data)
        generator.shuffle(base)
        return base[:count]
    if kind == "varied":
        base = questions(data) + sentences(data)
        generator.shuffle(base)
        pick = lambda at: WRAPPERS[generator.below(len(WRAPPERS))].format(base[at % len(base)])
    else:
        base = sorted({row["focus"] for row in medquad(data) if row["focus"]})
        generator.shuffle(base)
        pick = lambda at: SUBJECTS[generator.below(len(SUBJECTS))].format(base[generator.below(len(base))])
    return [pick(at) for at in range(count)]


if __name__ == "__main__":
    folder, kind, count, out = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    assert kind in ("questions", "varied", "templated"), kind
    made = rows(kind, folder, count)
    with open(out, "w", encoding="utf-8") as file:
        for text in made:
            file.write(json.dumps({"instruction": text}, ensure_ascii=False) + "\n")
    words = sum(len(text.split()) for text in made)
    print(f"{len(made)} rows, {len(set(made))} distinct, {words / max(len(made), 1):.1f} words on average")
