"""The paper's recipe at small scale: SmolLM2-135M tuned on 4,000 rows made of public training data, and what that did.

    python bench/mixture.py --data DIR --work DIR [--binary FILE] [--out docs/results] [--choices N] [--written N]

--data is the public data folder, --work keeps rows and run; called again after a stop it goes on. Every step is a verb of the
program: `tasks export` makes the rows, `curate --against` drops what holds an item of a task that is scored later, `train` tunes,
`eval` scores base and adapter under the template of the tuning, and the base under its own chat template too, on the first
--choices items of each multiple-choice task and the first --written items of each task with a written answer (0: all). Written are
DATE-mixture.json and DATE-mixture.md: aggregates, ids and hashes, no text of the data. Needs only Python's standard library.
"""

import argparse
import datetime
import hashlib
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROWS = 4000
CHOICES = [
    "medqa", "pubmedqa", "mmlu_anatomy", "mmlu_clinical_knowledge", "mmlu_college_biology", "mmlu_college_medicine",
    "mmlu_medical_genetics", "mmlu_professional_medicine",
]
WRITTEN = ["bc5cdr", "ncbi_disease", "conv2note", "meqsum"]
AGAINST = [*CHOICES, *WRITTEN, "medmcqa", "aci_bench"]
TRAINING = [
    "--set", "train.epochs=1", "--batch-rows", "16", "--lr", "1e-3", "--cutoff", "512", "--dropout", "0",
    "--set", "train.evaluate_every=44", "--set", "train.checkpoint_every=20",
]
SHOWN = {"accuracy", "rougeL", "span_f1_micro"}
COMPARED = {"accuracy", "rougeL", "span_f1"}  # item by item


def call(arguments, *verb):
    """Runs a verb and gives the object that it prints last."""
    command = [str(arguments.binary), *map(str, verb), "--json"]
    print("$ bioinstruct", *map(str, verb), file=sys.stderr, flush=True)
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(said.strip().splitlines()[-1])


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lines(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def tune(arguments):
    rows, run = arguments.work / "mixture.jsonl", arguments.work / "run"
    exported = arguments.work / "export.json"
    if not exported.exists():
        rows.unlink(missing_ok=True)
        made = call(arguments, "tasks", "export", "--mixture", "paper", "--count", ROWS, "--data-root", arguments.data, "--out", rows)
        exported.write_text(json.dumps(made))
    against = [part for task in AGAINST for part in ("--against", f"{task}={arguments.data}")]
    curated = call(
        arguments, "curate", rows, "--only", "exact", *against, "--set", "curate.dev_fraction=0.05", "--set", "curate.seeds=''", "--run", run,
    )
    dataset = run / "dataset"
    train = call(
        arguments, "train", "--model", "smollm2", "--data", dataset / "train.jsonl", "--dev", dataset / "dev.jsonl", "--run", run, *TRAINING,
    )
    return json.loads(exported.read_text()), curated, train


def evaluate(arguments):
    run = arguments.work / "run"
    scores, comparisons = [], []
    for name, tasks, limit in (("choices", CHOICES, arguments.choices), ("written", WRITTEN, arguments.written)):
        scored = arguments.work / f"eval-{name}"
        data = [part for task in tasks for part in (f"{task}={arguments.data}",)]
        call(
            arguments, "eval", "--model", "smollm2", "--adapter", run / "train/adapter", "--task", *tasks, "--data", *data,
            "--contamination", run / "dataset/contamination.json", "--limit", limit, "--run", scored,
        )
        scores += json.loads((scored / "eval/scores.json").read_text())
        comparisons += json.loads((scored / "eval/comparisons.json").read_text())
    return scores, comparisons


def curve(run):
    return [
        {"step": line["step"], "dev_loss": line["dev_loss"]}
        for line in lines(run / "train/metrics.jsonl") if line.get("dev_loss") is not None
    ]


def speed(run):
    """As the run itself counts it, and the median over its steps, which other work on the machine disturbs less."""
    found = json.loads((run / "train/speed.json").read_text())
    return found | {"median_tokens_per_second": statistics.median(line["tokens_per_second"] for line in lines(run / "train/timing.jsonl") if "tokens_per_second" in line)}


def processor():
    found = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return found[0].split(":", 1)[1].strip() if found else platform.machine()


def train_kernels(run):
    return json.loads((run / "train/manifest.json").read_text())["kernels"]


def cell(score):
    return f"{score['value']:.3f} [{score['ci_low']:.3f}, {score['ci_high']:.3f}]"


def table(result):
    by_task = {}
    for score in result["scores"]:
        if score.get("subset") or score["metric"] not in SHOWN:
            continue
        by_task.setdefault((score["task"], score["metric"]), {})[score["candidate"]] = score
    names = sorted({score["candidate"] for score in result["scores"]})
    rows = ["| task | metric | items | " + " | ".join(f"`{name}`" for name in names) + " | chance |", "|---|---|---:|" + "---:|" * (len(names) + 1)]
    for (task, metric), found in by_task.items():
        cells = [cell(found[name]) if name in found else "–" for name in names]
        any_score = next(iter(found.values()))
        chance = f"{any_score['chance']:.3f}" if any_score.get("chance") is not None else "–"
        rows.append(f"| {task} | {metric} | {any_score['n']:,} | " + " | ".join(cells) + f" | {chance} |")
    return rows


def p_value(p):
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def reading(result):
    """What the tuning changed against the base under the same template, in a sentence."""
    pairs = [of for of in result["comparisons"] if of["metric"] in COMPARED and of["b"].endswith("-tuned") and not of["a"].endswith("-chat")]
    names = lambda wanted: ", ".join(of["task"] for of in pairs if wanted(of)) or "none"
    return (
        f"Against the base under the same template, beyond noise: better on {names(lambda of: not of['within_noise'] and of['delta'] > 0)}; "
        f"worse on {names(lambda of: not of['within_noise'] and of['delta'] < 0)}. Within noise: {names(lambda of: of['within_noise'])}. "
        f"With {len(pairs)} tasks, a difference beyond noise on one of them can be chance."
    )


def page(result):
    training, curated, speed = result["training"], result["curation"], result["speed"]
    points = ", ".join(f"{point['dev_loss']:.3f} at step {point['step']}" for point in result["dev_curve"])
    dropped = ", ".join(f"{count} {task}" for task, count in sorted(curated["contaminated"].items()) if count)
    readings = [
        f"- {of['task']}, {of['metric']}: {of['b']} minus {of['a']} is {of['delta']:+.3f} [{of['ci_low']:+.3f}, {of['ci_high']:+.3f}], {p_value(of['p'])}, "
        f"{'within noise' if of['within_noise'] else 'beyond noise'}"
        for of in result["comparisons"] if of["metric"] in COMPARED and of["b"].endswith("-tuned")
    ]
    return "\n".join([
        "# SmolLM2-135M tuned on 4,000 rows of public training data", "",
        f"Made by `bench/mixture.py` on {result['date']} with {result['version']}; {result['machine']}.",
        "All numbers, comparisons and hashes are in the JSON file beside this one; no text of the data is.", "",
        f"- Rows: {result['export']['rows']:,} exported, {curated['kept']:,} kept; {curated['rejected'].get('contaminated', 0)} were dropped because they hold an "
        f"item of a scored task ({dropped}), {curated['rejected'].get('exact', 0)} because they stand twice: {curated['train']:,} to learn from, {curated['dev']} to watch.",
        f"- Settings: `{' '.join(TRAINING)}`; everything else as in the preset `modern`.",
        f"- Training: {training['steps']} steps on {training['rows']:,} rows ({training['overlong_rows']} longer than the cutoff are left out), {training['tokens']:,} tokens, "
        f"{training['label_tokens']:,} of them learned; {speed['tokens_per_second']:.0f} tokens/s inside steps (median of steps {speed['median_tokens_per_second']:.0f}; other work on the machine lowers the first more), "
        f"so {training['tokens'] / speed['tokens_per_second'] / 60:.0f} minutes; peak {speed['peak_rss_bytes'] / 1e9:.2f} GB.",
        f"- Dev loss: {points}; the adapter of step {training['kept_step']} is scored.", "",
        "`smollm2` is the base under the template of the tuning, `smollm2-chat` the base under its own chat template, `smollm2-tuned` the base with the adapter.",
        "Values are over the first items of each task, with 95 % bootstrap intervals over items.", "",
        *table(result), "",
        reading(result), "",
        "## Paired differences", "",
        "Item by item; McNemar's test for accuracy, permutation of signs for the rest; not corrected for their number.", "",
        *readings, "",
    ])


def without_paths(value, work):
    """The same with paths told from the working folder: where that lay is nobody's business."""
    if isinstance(value, dict):
        return {key: without_paths(item, work) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item, work) for item in value]
    return value.removeprefix(f"{work}/") if isinstance(value, str) else value


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/bioinstruct")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/results")
    parser.add_argument("--choices", type=int, default=200)
    parser.add_argument("--written", type=int, default=100)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    export, curated, train = tune(arguments)
    scores, comparisons = evaluate(arguments)
    run = arguments.work / "run"
    result = {
        "date": str(datetime.date.today()),
        "version": subprocess.run([str(arguments.binary), "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip(),
        "machine": f"{processor()}, {os.cpu_count()} processors, kernels {train_kernels(run)}",
        "export": export, "curation": curated, "training": train, "speed": speed(run),
        "dev_curve": curve(run), "scores": scores, "comparisons": comparisons, "limits": {"choices": arguments.choices, "written": arguments.written},
        "hashes": {name: digest(run / name) for name in ("dataset/train.jsonl", "dataset/dev.jsonl", "train/adapter/adapter_model.safetensors")},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"{result['date']}-mixture"
    result = without_paths(result, arguments.work)
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(page(result))


if __name__ == "__main__":
    main()
