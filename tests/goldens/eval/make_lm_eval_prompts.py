"""Writes lm_eval_prompts.json: what lm-evaluation-harness asks for invented rows in the owners' formats.

The harness's own task definitions (medqa_4options, pubmedqa) are run on local files; every (context, continuation) pair is
kept, without solved examples and with the first two of a training file.

Needs lm-eval 0.4.13 and datasets 5.2.0; no network. Run: python make_lm_eval_prompts.py
"""

import json
import os
import pathlib
import tempfile

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks.medqa import preprocess_medqa
from lm_eval.tasks.pubmedqa import preprocess_pubmedqa

MEDQA = [
    {
        "question": "A child swallowed a button battery an hour ago. \nWhat comes first?\n ",
        "options": {"A": "Endoscopy ", "B": "Waiting", "C": "An X-ray in 2 days", "D": " Milk"},
        "answer_idx": "A",
    },
    {
        "question": "Which vitamin prevents scurvy? {{ braces }} stay, and so does {% this %}.",
        "options": {"A": "Vitamin A", "B": "Vitamin B\u2081", "C": "Vitamin C", "D": "Vitamin D < E & F"},
        "answer_idx": "C",
    },
]
MEDQA_TRAIN = [
    {
        "question": "Which organ makes insulin?",
        "options": {"A": "Liver", "B": "Pancreas", "C": "Spleen", "D": "Kidney"},
        "answer_idx": "B",
    },
    {
        "question": "Which bone is the longest?",
        "options": {"A": "Tibia", "B": "Ulna", "C": "Radius", "D": "Femur"},
        "answer_idx": "D",
    },
    {
        "question": "Not shown: only the first two are.",
        "options": {"A": "a", "B": "b", "C": "c", "D": "d"},
        "answer_idx": "A",
    },
]
PUBMEDQA = {
    "9000001": {
        "QUESTION": "Does daily walking lower blood pressure in older adults?",
        "CONTEXTS": ["Walking is cheap.", "Eighty adults (\u2265 65 years) walked daily.\nPressure fell by 4 mmHg. "],
        "final_decision": "yes",
    },
    "9000002": {
        "QUESTION": "Is a second dose needed?",
        "CONTEXTS": ["One dose was compared with two doses in a small trial."],
        "final_decision": "maybe",
    },
}
PUBMEDQA_TRAIN = {
    "9000011": {"QUESTION": "Is tea a cure for colds?", "CONTEXTS": ["No arm differed."], "final_decision": "no"},
    "9000012": {"QUESTION": "Do masks help?", "CONTEXTS": ["They did."], "final_decision": "yes"},
}


def as_hub_medqa(row):
    """The row under the field names of the copy that the harness downloads."""
    endings = {f"ending{i}": row["options"][letter] for i, letter in enumerate("ABCD")}
    return {"sent1": row["question"], **endings, "label": "ABCD".index(row["answer_idx"])}


def requests(folder, name, test, train, functions, shots):
    files = {}
    for split, rows in (("test", test), ("train", train)):
        path = pathlib.Path(folder) / f"{name}-{split}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        files[split] = str(path)
    config = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "output_type": "multiple_choice",
        "training_split": "train",
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": shots,
        "metric_list": [{"metric": "acc"}],
        **functions,
    }
    task = ConfigurableTask(config=config)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    items = {}
    for instance in task.instances:
        context, continuation = instance.args
        item = items.setdefault(instance.doc_id, {"context": context, "continuations": []})
        assert item["context"] == context
        item["continuations"].append(continuation)
    return [items[doc_id] for doc_id in sorted(items)]


def main():
    medqa = {
        "doc_to_text": preprocess_medqa.doc_to_text,
        "doc_to_target": preprocess_medqa.doc_to_target,
        "doc_to_choice": ["A", "B", "C", "D"],
    }
    pubmedqa = {
        "doc_to_text": preprocess_pubmedqa.doc_to_text,
        "doc_to_target": "final_decision",
        "doc_to_choice": ["yes", "no", "maybe"],
    }
    golden = {
        "medqa": {"data": MEDQA, "train": MEDQA_TRAIN},
        "pubmedqa": {"data": PUBMEDQA, "train": PUBMEDQA_TRAIN},
    }
    with tempfile.TemporaryDirectory() as folder:
        for shots in (0, 2):
            golden["medqa"][f"requests_{shots}_shot"] = requests(
                folder,
                f"medqa{shots}",
                [as_hub_medqa(row) for row in MEDQA],
                [as_hub_medqa(row) for row in MEDQA_TRAIN],
                medqa,
                shots,
            )
            golden["pubmedqa"][f"requests_{shots}_shot"] = requests(
                folder, f"pubmedqa{shots}", PUBMEDQA.values(), PUBMEDQA_TRAIN.values(), pubmedqa, shots
            )
    path = pathlib.Path(__file__).with_name("lm_eval_prompts.json")
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
