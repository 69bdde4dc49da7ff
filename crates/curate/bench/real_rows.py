"""Writes real biomedical texts of the public data folder as instruction rows, to measure filters on (`filter_rates`).

    python3 real_rows.py DATA OUTDIR          (Python 3.9 or later, no packages)

One file per source. The instructions are ours where the source has none; the texts are theirs, unchanged.
"""
import csv
import gzip
import json
import pathlib
import sys

LETTERS = "ABCDEFGH"


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def multiple_choice(question, options, answer):
    body = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options))
    return {"instruction": "Answer the question with one of its options.", "input": f"{question}\n{body}",
            "output": f"{LETTERS[answer]}. {options[answer]}"}


def sources(data):
    with gzip.open(data / "medquad" / "medquad_answered.jsonl.gz", "rt", encoding="utf-8") as file:
        yield "medquad", [{"instruction": row["question"], "input": "", "output": row["answer"]} for row in map(json.loads, file)]
    yield "medmcqa", [multiple_choice(row["question"], [row["op" + x] for x in "abcd"], row["cop"] - 1)
                      for row in lines(data / "medmcqa" / "dev.json")]
    yield "medqa", [multiple_choice(row["question"], [row["options"][x] for x in "ABCD"], "ABCD".index(row["answer_idx"]))
                    for row in lines(data / "medqa" / "phrases_no_exclude_test.jsonl")]
    pubmedqa = json.loads((data / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8"))
    yield "pubmedqa", [{"instruction": row["QUESTION"], "input": " ".join(row["CONTEXTS"]),
                        "output": f"{row['final_decision']}. {row['LONG_ANSWER']}"} for row in pubmedqa.values()]
    mts = []
    for name in sorted((data / "mts-dialog").glob("*.csv")):
        with open(name, encoding="utf-8-sig", newline="") as file:
            mts += [{"instruction": "Write the section of the note that this conversation gives.", "input": row["dialogue"],
                     "output": row["section_text"]} for row in csv.DictReader(file)]
    yield "mts-dialog", mts
    aci = []
    for name in ("train.csv", "valid.csv", "clinicalnlp_taskB_test1.csv"):
        with open(data / "aci-bench" / name, encoding="utf-8-sig", newline="") as file:
            aci += [{"instruction": "Write the note of this visit.", "input": row["dialogue"], "output": row["note"]}
                    for row in csv.DictReader(file)]
    yield "aci-bench", aci
    yield "meqsum", [{"instruction": "Put the question in one sentence.", "input": row["CHQ"], "output": row["Summary"]}
                     for row in lines(data / "meqsum" / "meqsum.jsonl")]
    sample = json.loads((data / "bioinstruct-sample" / "bioinstruct_112.json").read_text(encoding="utf-8"))
    yield "bioinstruct-sample", [{key: row[key] for key in ("instruction", "input", "output")} for row in sample]


if __name__ == "__main__":
    folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in sources(folder):
        with open(out / f"{name}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        print(name, len(rows))
