"""Writes 25,000 training rows among which test items are hidden, to measure decontamination on (example `planted_items`).

    python3 plant_items.py DATA OUTDIR        (Python 3.9 or later, no packages)

items.jsonl    every item of MedMCQA dev, MedQA test, PubMedQA and six MMLU subjects: task, id, question, options, context
rows.jsonl     rows of MedQuAD, MTS-Dialog and templated questions, and among them 500 verbatim items and 200 edited ones
planted.jsonl  for each hidden item its line in rows.jsonl (from 1), its task and id, and what was done to it

Edits, 50 of each: a word of the question substituted; a word deleted or inserted; the options reordered; case and punctuation
changed. The generator is written out, so that the files are the same with every version of Python.
"""
import csv
import gzip
import json
import pathlib
import sys

LETTERS = "ABCDEFGH"
FILLERS = ["clearly", "often", "usually", "patient", "acute", "most", "primary", "severe", "daily", "typical"]


class Generator:
    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def pick(self, items):
        return items[self.below(len(items))]

    def shuffle(self, items):
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def items(data):
    def item(task, number, question, options=(), context=""):
        return {"task": task, "id": f"{task}-{number}", "question": question, "options": list(options), "context": context}

    found = [item("medmcqa", n, row["question"], [row["op" + x] for x in "abcd"])
             for n, row in enumerate(lines(data / "medmcqa" / "dev.json"))]
    found += [item("medqa", n, row["question"], [row["options"][x] for x in "ABCD"])
              for n, row in enumerate(lines(data / "medqa" / "phrases_no_exclude_test.jsonl"))]
    pubmedqa = json.loads((data / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    found += [item("pubmedqa", n, row["QUESTION"], (), " ".join(row["CONTEXTS"])) for n, row in enumerate(pubmedqa.values())]
    number = 0
    for path in sorted((data / "mmlu").glob("*.csv")):
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                found.append(item("mmlu", number, row[0], row[1:5]))
                number += 1
    return found


def rows(data, generator, count):
    with gzip.open(data / "medquad" / "medquad_answered.jsonl.gz", "rt", encoding="utf-8") as file:
        medquad = [json.loads(line) for line in file]
    found = [(row["question"], "", row["answer"][:1500]) for row in medquad]
    for name in sorted((data / "mts-dialog").glob("*.csv")):
        with open(name, encoding="utf-8-sig", newline="") as file:
            found += [("Write the section of the note that this conversation gives.", row["dialogue"], row["section_text"])
                      for row in csv.DictReader(file)]
    wordings = ["Explain {} to a patient in five sentences.", "Which of the following is true about {}?",
                "What is the most likely cause of {} in adults?", "All of the following are seen in {} except:",
                "Which of the following is the drug of choice for {}?"]
    while len(found) < count:
        row = generator.pick(medquad)
        found.append((generator.pick(wordings).format(row["focus"] or "fever"), "", row["answer"][:400]))
    return found[:count]


def lettered(options, separator):
    return separator.join(f"{letter}. {option}" for letter, option in zip(LETTERS, options))


def as_row(item, style, answer):
    question, options = item["question"], item["options"]
    if not options:
        if style == 0:
            return "Answer the question from the abstract with yes, no or maybe.", f"{item['context']}\n\n{question}", answer
        return question, "", answer
    if style == 0:
        return "Answer the question with one of its options.", f"{question}\n{lettered(options, chr(10))}", answer
    if style == 1:
        return f"Question: {question} {lettered(options, ' ')}", "", answer
    return question, "Options: " + "; ".join(options), answer


def edited(item, kind, generator):
    item = dict(item, options=list(item["options"]))
    words = item["question"].split()
    place = generator.below(len(words))
    if kind == "substituted":
        words[place] = generator.pick(FILLERS)
    elif kind == "deleted-or-inserted":
        if generator.below(2) and len(words) > 3:
            del words[place]
        else:
            words.insert(place, generator.pick(FILLERS))
    elif kind == "reordered":
        before = list(item["options"])
        while item["options"] == before and len(set(before)) > 1:
            generator.shuffle(item["options"])
    else:
        words = [word.upper() if generator.below(2) else word.lower() for word in words]
        words = [word.rstrip(".,;:?") + generator.pick(["", ",", ";", "!"]) for word in words]
        item["options"] = [option.upper() + "!" for option in item["options"]]
    item["question"] = " ".join(words)
    return item


if __name__ == "__main__":
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    generator, tested = Generator(5), items(folder)
    chosen = list(tested)
    generator.shuffle(chosen)
    with_options = [item for item in chosen[500:] if item["options"]]
    plants = [(item, "verbatim") for item in chosen[:500]]
    for at, kind in enumerate(["substituted", "deleted-or-inserted", "reordered", "case-and-punctuation"]):
        plants += [(edited(item, kind, generator), kind) for item in with_options[50 * at:50 * at + 50]]
    made = [(row, None) for row in rows(folder, generator, 25000 - len(plants))]
    for item, kind in plants:
        made.append((as_row(item, generator.below(3), "See the options."), (item["task"], item["id"], kind)))
    generator.shuffle(made)
    with open(out / "items.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in tested)
    with open(out / "rows.jsonl", "w", encoding="utf-8") as file, open(out / "planted.jsonl", "w", encoding="utf-8") as planted:
        for line, ((instruction, text, output), plant) in enumerate(made, 1):
            file.write(json.dumps({"instruction": instruction, "input": text, "output": output}, ensure_ascii=False) + "\n")
            if plant:
                task, item, kind = plant
                planted.write(json.dumps({"line": line, "task": task, "item": item, "kind": kind}) + "\n")
    print(len(tested), "items,", len(made), "rows,", len(plants), "planted")
