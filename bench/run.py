"""Runs ours and the peers on the same work, in turn, on one machine, and writes a table and the raw figures.

    python bench/run.py --peers DIR --scripts DIR --data DIR [--rows train,real,decode,score] [--rounds 3]

--peers is a folder with the peers' Python environment (`venv/`), the demo model as a Hugging Face folder (`smollm2-hf/`) and
as GGUF files (`smollm2.gguf`, `smollm2-q4_0.gguf`, `smollm2-q8_0.gguf`); --scripts holds the scripts that run a peer; --data
the public data. Ours is `target/release/bioinstruct`, called as a user calls it. Needs only Python's standard library.

Every measurement runs `rounds` times, ours and the peers in alternation. Printed: medians, ratios, and the greatest resident
memory. Results go to `bench/results/DATE.json` and `.md`, with machine, versions and commands.
"""

import argparse
import csv
import datetime
import json
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORDS = (
    "patient doctor blood heart pain time day year work part case number point group problem fact hand place week month life water "
    "room mother area money story lot study book eye job word business issue side kind head house service friend father power hour "
    "game line end member law car city name team minute idea body information back parent face level office door health person art "
    "war history party result change morning reason research girl guy moment air teacher force education"
).split()
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184"}


class Runner:
    """Starts commands and keeps what they say."""

    def __init__(self, arguments, scratch):
        self.arguments, self.scratch = arguments, pathlib.Path(scratch)
        self.ours_binary = ROOT / "target/release/bioinstruct"
        self.python = pathlib.Path(arguments.peers) / "venv/bin/python"
        self.raw = []

    def call(self, name, command, environment=None):
        """Runs a command; its last line is a JSON object. Adds wall seconds and peak memory."""
        begin = time.monotonic()
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=self.scratch,
            env={**os.environ, **(environment or {})},
        )
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        if status != 0:
            sys.exit(f"{name} failed: {' '.join(map(str, command))}")
        try:
            found = json.loads(said.strip().splitlines()[-1])
        except (IndexError, json.JSONDecodeError):
            found = {}
        found |= {"wall_seconds": seconds, "peak_bytes": usage.ru_maxrss * 1024}
        self.raw.append({"name": name, "command": [str(part) for part in command], "environment": environment, "found": found})
        print(f"  {name}: {seconds:.1f} s", file=sys.stderr)
        return found

    def ours(self, name, *flags, run=True):
        directory = self.scratch / f"run-{len(self.raw)}"
        place = ["--run", directory] if run else []
        return self.call(name, [self.ours_binary, *flags, "--offline", "--json", *place])

    def peer(self, name, script, *flags, environment=None):
        return self.call(name, [self.python, pathlib.Path(self.arguments.scripts) / script, *flags], environment)

    def rounds(self, *measurements):
        """Runs each measurement once a round, in alternation; medians of each."""
        found = [[] for _ in measurements]
        for _ in range(self.arguments.rounds):
            for results, measure in zip(found, measurements):
                results.append(measure())
        return found


def median(results, key):
    return statistics.median(result[key] for result in results)


def packed_rows(runner):
    """Rows that the template turns into exactly 256 tokens each, found by asking what the model sees."""
    path, draw = runner.scratch / "packed.jsonl", random.Random(1)
    lengths = [200] * 48
    texts = [[draw.choice(WORDS) for _ in range(256)] for _ in lengths]
    for _ in range(8):
        with path.open("w", encoding="utf-8") as file:
            for text, length in zip(texts, lengths):
                row = {"instruction": "Go on", "input": "", "output": " ".join(text[:length])}
                file.write(json.dumps(row) + "\n")
        shown = runner.ours("preview", "preview", "--data", path, "--loss", "all", "--rows", len(lengths), run=False)
        tokens = [len(row["tokens"]) for row in shown["rows"]]
        if all(count == 256 for count in tokens):
            return path
        lengths = [length + 256 - count for length, count in zip(lengths, tokens)]
    sys.exit("no rows of 256 tokens were found")


def real_rows(runner):
    """256 rows of MTS-Dialog's training set, as an instruction set."""
    path = runner.scratch / "real.jsonl"
    source = pathlib.Path(runner.arguments.data) / "mts-dialog/MTS-Dialog-TrainingSet.csv"
    with source.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8") as out:
        for row in list(csv.DictReader(file))[:256]:
            instruction = f"Write the {row['section_header']} section of a clinical note from this conversation."
            out.write(json.dumps({"instruction": instruction, "input": row["dialogue"], "output": row["section_text"]}) + "\n")
    return path


LORA = ["--rank", 16, "--alpha", 16, "--targets", "q,k,v,o", "--set", "train.dev_fraction=0.0"]


def train(runner):
    rows, hub = packed_rows(runner), pathlib.Path(runner.arguments.peers) / "smollm2-hf"
    gguf = pathlib.Path(runner.arguments.peers) / "smollm2.gguf"
    plain, base = ["--dropout", 0], ["train", "--model", gguf, "--data", rows, "--loss", "all", "--batch-rows", 8, "--max-steps", 6, *LORA]
    peer = lambda name, *flags, environment=None: runner.peer(  # noqa: E731
        name, "train_peft.py", "--model", hub, "--threads", runner.arguments.threads, *flags, environment=environment
    )
    ours, dropped, default, same, tuned = runner.rounds(
        lambda: runner.ours("ours", *base, *plain),
        lambda: runner.ours("ours, dropout 0.05", *base, "--dropout", 0.05),
        lambda: peer("PEFT, f32 adapters"),
        lambda: peer("PEFT, bf16 adapters", "--adapter-dtype", "same"),
        lambda: peer("PEFT, bf16 adapters, tuned allocator", "--adapter-dtype", "same", environment=TUNED),
    )
    smallest = min(median(results, "peak_bytes") for results in (default, same, tuned))
    rate = lambda results: median(results, "tokens_per_second")  # noqa: E731
    for name, results in (("PEFT", default), ("PEFT, bf16 adapters", same), ("the same, tuned allocator", tuned)):
        yield "train 8 x 256, tokens/s", name, rate(ours), rate(results)
    yield "train 8 x 256, peak MB (less is better)", "PEFT's smallest", median(ours, "peak_bytes") / 1e6, smallest / 1e6
    yield "dropout 0.05, tokens/s", "ours without dropout", rate(dropped), rate(ours)


def real(runner):
    rows, hub = real_rows(runner), pathlib.Path(runner.arguments.peers) / "smollm2-hf"
    gguf = pathlib.Path(runner.arguments.peers) / "smollm2.gguf"
    base = ["train", "--model", gguf, "--data", rows, "--template", "alpaca", "--batch-rows", 8, "--cutoff", 512, "--dropout", 0, *LORA]
    base += ["--set", "train.epochs=1.0"]
    peer = lambda name, *flags: runner.peer(  # noqa: E731
        name, "train_peft.py", "--model", hub, "--data", rows, "--rows", 256, "--length", 512,
        "--threads", runner.arguments.threads, *flags
    )
    ours, stored, default, bucket = runner.rounds(
        lambda: runner.ours("ours, real rows", *base),
        lambda: runner.ours("ours, real rows, Q4_1 as stored", *base, "--precision", "stored"),
        lambda: peer("PEFT, padded"),
        lambda: peer("PEFT, bucketed", "--bucket"),
    )
    rate = lambda results: median(results, "tokens_per_second")  # noqa: E731
    yield "train 256 real rows, real tokens/s", "PEFT, padded", rate(ours), rate(default)
    yield "train 256 real rows, real tokens/s", "PEFT, bucketed", rate(ours), rate(bucket)
    peak = lambda results: median(results, "peak_bytes") / 1e6  # noqa: E731
    yield "train 256 real rows, peak MB (less is better)", "PEFT, padded", peak(ours), peak(default)
    yield "the same on Q4_1 as stored, tokens/s", "ours in bf16", rate(stored), rate(ours)
    yield "the same on Q4_1 as stored, peak MB (less is better)", "ours in bf16", peak(stored), peak(ours)


def decode(runner):
    prompt = " ".join(random.Random(2).choice(WORDS) for _ in range(512))
    for name, file in (("Q4_1", "smollm2.gguf"), ("Q4_0", "smollm2-q4_0.gguf"), ("Q8_0", "smollm2-q8_0.gguf")):
        gguf = pathlib.Path(runner.arguments.peers) / file
        written, read, peer = runner.rounds(
            lambda gguf=gguf, name=name: runner.ours(
                f"ours, decode {name}", "chat", "--model", gguf, "--precision", "stored", "--max-tokens", 128,
                "--prompt", "Tell a long story about a river and everything that lives in it.", run=False),
            lambda gguf=gguf, name=name: runner.ours(
                f"ours, prefill {name}", "chat", "--model", gguf, "--precision", "stored", "--max-tokens", 2, "--prompt", prompt,
                run=False),
            lambda gguf=gguf, name=name: runner.peer(
                f"llama.cpp, {name}", "decode_llama_cpp.py", "--model", gguf, "--threads", runner.arguments.threads),
        )
        yield (f"decode {name}, batch 1, tokens/s", "llama.cpp", median(written, "decode_tokens_per_second"),
               median(peer, "decode_tokens_per_second"))
        yield (f"prefill {name}, about 512 tokens, tokens/s", "llama.cpp", median(read, "prefill_tokens_per_second"),
               median(peer, "prefill_tokens_per_second"))


def score(runner):
    limit, peers = 300, pathlib.Path(runner.arguments.peers)
    data = pathlib.Path(runner.arguments.data) / "medqa/phrases_no_exclude_test.jsonl"
    ours, peer = runner.rounds(
        lambda: runner.ours(
            "ours, MedQA", "eval", "--model", peers / "smollm2.gguf", "--task", "medqa", "--data", data, "--profile", "lm-eval",
            "--limit", limit),
        lambda: runner.peer(
            "lm-evaluation-harness, MedQA", "score_lm_eval.py", "--model", peers / "smollm2-hf", "--task", "medqa_4options",
            "--data", data, "--limit", limit, "--dtype", "bfloat16", "--out", runner.scratch / "items.jsonl"),
    )
    rate = lambda results: limit / median(results, "wall_seconds")  # noqa: E731
    yield "score MedQA, whole command, questions/s", "lm-evaluation-harness", rate(ours), rate(peer)


ROWS = {"train": train, "real": real, "decode": decode, "score": score}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True)
    parser.add_argument("--scripts", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    for name in ("peers", "scripts", "data"):
        setattr(arguments, name, str(pathlib.Path(getattr(arguments, name)).resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        runner, lines = Runner(arguments, scratch), []
        doctor = runner.ours("doctor", "doctor", run=False)
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False)
        for name in arguments.rows.split(","):
            for work, against, ours, theirs in ROWS[name](runner):
                lines.append({"work": work, "against": against, "ours": ours, "theirs": theirs, "ratio": ours / theirs})
            # After every group, so that a later failure loses nothing.
            write(arguments, runner, lines, doctor, commit.stdout.strip(), scratch)


def write(arguments, runner, lines, doctor, commit, scratch):
    processor = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8") if "model name" in line), "")
    date = datetime.date.today().isoformat()
    machine = {"processor": processor, "system": platform.platform(), "threads": arguments.threads, "doctor": doctor}
    hide = [(scratch, "SCRATCH"), (arguments.peers, "PEERS"), (arguments.scripts, "SCRIPTS"), (arguments.data, "DATA"), (str(ROOT), ".")]
    text = json.dumps({"date": date, "commit": commit, "machine": machine, "rounds": arguments.rounds, "table": lines,
                       "runs": runner.raw}, indent=1)
    for path, name in hide:
        text = text.replace(path, name)
    folder = ROOT / "bench/results"
    folder.mkdir(exist_ok=True)
    (folder / f"{date}.json").write_text(text + "\n", encoding="utf-8")
    table = ["| work | against | ours | theirs | ratio |", "|---|---|---:|---:|---:|"]
    table += [f"| {l['work']} | {l['against']} | {l['ours']:.1f} | {l['theirs']:.1f} | {l['ratio']:.2f} |" for l in lines]
    head = f"{date}, commit {commit}, {processor}, {arguments.threads} threads, medians of {arguments.rounds} rounds.\n\n"
    (folder / f"{date}.md").write_text(head + "\n".join(table) + "\n", encoding="utf-8")
    print(head + "\n".join(table))


if __name__ == "__main__":
    main()
