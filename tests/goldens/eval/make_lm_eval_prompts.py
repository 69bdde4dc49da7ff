"""Writes lm_eval_prompts.json: what lm-evaluation-harness asks for invented rows in the owners' formats.

The harness's own task definitions (medqa_4options, medmcqa, pubmedqa, mmlu_anatomy, meqsum) are run on local files; every
(context, continuation) pair is kept, without solved examples and with the first two of a training file. Of meqsum, whose answers
are written, the context alone is kept; its metrics would be fetched from a network, so their loader is replaced.

Needs lm-eval 0.4.13 and datasets 5.2.0; no network. Run: python make_lm_eval_prompts.py
"""

import json
import os
import pathlib
import sys
import tempfile
import types

os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import lm_eval.tasks
import yaml
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks.medmcqa import utils_medmcqa
from lm_eval.tasks.medqa import preprocess_medqa
from lm_eval.tasks.pubmedqa import preprocess_pubmedqa

sys.modules["evaluate"] = types.SimpleNamespace(load=lambda *name, **options: None)
from lm_eval.tasks.meqsum import utils as utils_meqsum

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
MEDMCQA = [
    {
        "id": "m1",
        "question": "Which nerve moves the diaphragm? ",
        "opa": "Vagus",
        "opb": " Phrenic",
        "opc": "Ulnar nerve, \u00b5",
        "opd": "None",
        "cop": 2,
        "choice_type": "single",
    },
    {
        "id": "m2",
        "question": "All but one carry {{ oxygen }}:",
        "opa": "a",
        "opb": "b",
        "opc": "c",
        "opd": "d\ne",
        "cop": 4,
        "choice_type": "multi",
    },
]
MEDMCQA_TRAIN = [
    {"id": "t1", "question": "Where is bile made?", "opa": "Liver", "opb": "Gut", "opc": "Lung", "opd": "Skin", "cop": 1},
    {"id": "t2", "question": "Which is a vitamin?", "opa": "Tin", "opb": "Tea", "opc": "Fat", "opd": "Niacin", "cop": 4},
    {"id": "t3", "question": "Not shown.", "opa": "a", "opb": "b", "opc": "c", "opd": "d", "cop": 2},
]
# Rows of the owners' CSV files, which have no header.
MMLU = [
    [" Which bone is in the thigh?\n", "Tibia", "Femur ", "Ulna, left", 'The "radius"', "B"],
    ["The heart has\nhow many chambers?", "1", "2", "3", "4", "D"],
]
MMLU_DEV = [
    ["Where is the pancreas?", "Head", "Belly", "Foot", "Hand", "B"],
    ["How many lungs are there?", "Two", "Three", "Four", "Five", "A"],
    ["Not shown.", "a", "b", "c", "d", "C"],
]
MEQSUM = [
    {"File": "1.txt", "CHQ": "SUBJECT: cough\nMESSAGE: Why do I cough {{ at }} night?\n MESSAGE: twice", "Summary": "Why cough?"},
    {"File": "2.txt", "CHQ": "is tea good for\n\na cold  ", "Summary": "Is tea good?"},
    {"File": "3.txt", "CHQ": "MESSAGE", "Summary": "Empty?"},
]


def as_hub_medqa(row):
    """The row under the field names of the copy that the harness downloads."""
    endings = {f"ending{i}": row["options"][letter] for i, letter in enumerate("ABCD")}
    return {"sent1": row["question"], **endings, "label": "ABCD".index(row["answer_idx"])}


def as_hub_medmcqa(row):
    return {**row, "cop": row["cop"] - 1}


def as_hub_mmlu(row):
    return {"question": row[0], "choices": row[1:5], "answer": "ABCD".index(row[5])}


def definition(name):
    """What a YAML file of the harness says, without the functions it names."""
    text = (pathlib.Path(lm_eval.tasks.__file__).parent / name).read_text()
    return yaml.load(text.replace("!function", ""), Loader=yaml.SafeLoader)


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
        if task.OUTPUT_TYPE == "multiple_choice":
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
    medmcqa = {
        "doc_to_text": utils_medmcqa.doc_to_text,
        "doc_to_target": "cop",
        "doc_to_choice": ["A", "B", "C", "D"],
    }
    template = definition("mmlu/default/_default_template_yaml")
    anatomy = definition("mmlu/default/mmlu_anatomy.yaml")
    mmlu = {key: template[key] for key in ("doc_to_text", "doc_to_target", "doc_to_choice")}
    mmlu["description"] = anatomy["description"]
    meqsum = {
        "description": definition("meqsum/meqsum.yaml")["description"],
        "doc_to_text": utils_meqsum.doc_to_text,
        "doc_to_target": utils_meqsum.doc_to_target,
        "output_type": "generate_until",
        "metric_list": [{"metric": "exact_match"}],
    }
    golden = {
        "medqa": {"data": MEDQA, "train": MEDQA_TRAIN},
        "medmcqa": {"data": MEDMCQA, "train": MEDMCQA_TRAIN},
        "mmlu_anatomy": {"data": MMLU, "train": MMLU_DEV},
        "meqsum": {"data": MEQSUM},
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
            golden["medmcqa"][f"requests_{shots}_shot"] = requests(
                folder,
                f"medmcqa{shots}",
                [as_hub_medmcqa(row) for row in MEDMCQA],
                [as_hub_medmcqa(row) for row in MEDMCQA_TRAIN],
                medmcqa,
                shots,
            )
            golden["mmlu_anatomy"][f"requests_{shots}_shot"] = requests(
                folder,
                f"mmlu{shots}",
                [as_hub_mmlu(row) for row in MMLU],
                [as_hub_mmlu(row) for row in MMLU_DEV],
                mmlu,
                shots,
            )
        golden["meqsum"]["requests_0_shot"] = requests(folder, "meqsum", MEQSUM, MEQSUM, meqsum, 0)
    path = pathlib.Path(__file__).with_name("lm_eval_prompts.json")
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
