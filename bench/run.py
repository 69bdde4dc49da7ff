"""Runs ours and the peers on the same work, in turn, on one machine, and writes a table and the raw figures.

    python bench/run.py --peers DIR --scripts DIR --data DIR [--rows train,real,forward,decode,score,large,quality] [--rounds 3]

--peers is a folder with the peers' Python environment (`venv/`), the demo model as a Hugging Face folder (`smollm2-hf/`) and
as GGUF files (`smollm2.gguf`, `smollm2-q4_0.gguf`, `smollm2-q8_0.gguf`); --scripts holds the scripts that run a peer; --data
the public data. Ours is `target/release/bioinstruct`, called as a user calls it. Needs only Python's standard library.

Every measurement runs `rounds` times, ours and the peers in alternation. Printed: medians, ratios, and the greatest resident
memory. Results go to `bench/results/DATE.json` and `.md` (or `--name`), with machine, versions and commands. Where a row says what share of
the processor's peak it reaches, the peak is what `bioinstruct doctor` measures on operands that stay in the nearest cache.

PEFT's default on a bfloat16 base takes minutes a step where the processor multiplies no bfloat16: `--peer-types float32` leaves
it out, and `--peer-steps 1` counts one step of it.
"""

import argparse
import csv
import datetime
import itertools
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
        directory = self.last_run = self.scratch / f"run-{len(self.raw)}"
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


def packed_rows(runner, model, tokens=256, count=48):
    """Rows that the template turns into exactly so many tokens each, found by asking what the model sees."""
    path, draw = runner.scratch / f"packed-{tokens}.jsonl", random.Random(1)
    lengths = [tokens - 56] * count
    texts = [[draw.choice(WORDS) for _ in range(tokens)] for _ in lengths]
    for _ in range(8):
        with path.open("w", encoding="utf-8") as file:
            for text, length in zip(texts, lengths):
                row = {"instruction": "Go on", "input": "", "output": " ".join(text[:length])}
                file.write(json.dumps(row) + "\n")
        shown = runner.ours("preview", "preview", "--model", model, "--data", path, "--loss", "all", "--rows", count, run=False)
        found = [len(row["tokens"]) for row in shown.pop("rows")]
        if all(length == tokens for length in found):
            return path
        lengths = [length + tokens - now for length, now in zip(lengths, found)]
    sys.exit(f"no rows of {tokens} tokens were found")


def real_rows(runner):
    """The first rows of MTS-Dialog's training set, as an instruction set."""
    path = runner.scratch / "real.jsonl"
    source = pathlib.Path(runner.arguments.data) / "mts-dialog/MTS-Dialog-TrainingSet.csv"
    with source.open(encoding="utf-8", newline="") as file, path.open("w", encoding="utf-8") as out:
        for row in list(csv.DictReader(file))[: runner.arguments.real_rows]:
            instruction = f"Write the {row['section_header']} section of a clinical note from this conversation."
            out.write(json.dumps({"instruction": instruction, "input": row["dialogue"], "output": row["section_text"]}) + "\n")
    return path


LORA = ["--rank", 16, "--alpha", 16, "--targets", "q,k,v,o", "--set", "train.dev_fraction=0.0"]


def train(runner):
    gguf, hub = pathlib.Path(runner.arguments.peers) / "smollm2.gguf", pathlib.Path(runner.arguments.peers) / "smollm2-hf"
    rows, types = packed_rows(runner, gguf), runner.arguments.peer_types
    plain, base = ["--dropout", 0], ["train", "--model", gguf, "--data", rows, "--loss", "all", "--batch-rows", 8, "--max-steps", 6, *LORA]
    peer = lambda name, *flags, environment=None: lambda: runner.peer(  # noqa: E731
        name, "train_peft.py", "--model", hub, "--threads", runner.arguments.threads, "--steps", runner.arguments.peer_steps, *flags,
        environment=environment,
    )
    same = ["--adapter-dtype", "same"]
    peers = {
        "PEFT in f32": ("float32", peer("PEFT, f32", "--dtype", "float32")),
        "PEFT in f32, tuned allocator": ("float32", peer("PEFT, f32, tuned", "--dtype", "float32", environment=TUNED)),
        "PEFT on a bf16 base, f32 adapters": ("bfloat16", peer("PEFT, bf16 base")),
        "PEFT in bf16": ("bfloat16", peer("PEFT, bf16", *same)),
        "PEFT in bf16, tuned allocator": ("bfloat16", peer("PEFT, bf16, tuned", *same, environment=TUNED)),
    }
    peers = {name: run for name, (kind, run) in peers.items() if kind in types}
    ours, dropped, *theirs = runner.rounds(
        lambda: runner.ours("ours", *base, *plain), lambda: runner.ours("ours, dropout 0.05", *base, "--dropout", 0.05), *peers.values()
    )
    rate = lambda results: median(results, "tokens_per_second")  # noqa: E731
    for name, results in zip(peers, theirs):
        yield "train 8 x 256, tokens/s", name, rate(ours), rate(results)
    smallest = min(median(results, "peak_bytes") for results in theirs)
    yield "train 8 x 256, peak MB (less is better)", "PEFT's smallest", median(ours, "peak_bytes") / 1e6, smallest / 1e6
    yield "dropout 0.05, tokens/s", "ours without dropout", rate(dropped), rate(ours)
    # Two operations a weight and token forward, two backward; attention and adapters.
    yield "train 8 x 256, GFLOP/s (0.58 a token)", "the processor's peak", rate(ours) * 0.58, runner.peak


def forward(runner):
    gguf = pathlib.Path(runner.arguments.peers) / "smollm2.gguf"
    rows = packed_rows(runner, gguf)
    flags = ["--model", gguf, "--data", rows, "--loss", "all", "--batch-rows", 8, "--max-steps", 1, "--dropout", 0, *LORA]
    (ours,) = runner.rounds(lambda: runner.ours("ours, forward", "plan", *flags, run=False))
    rate = median(ours, "evaluated_tokens_per_second")
    yield "forward and loss, 1,024 tokens at a time, GFLOP/s (0.278 a token)", "the processor's peak", rate * 0.278, runner.peak


def real(runner):
    rows, hub = real_rows(runner), pathlib.Path(runner.arguments.peers) / "smollm2-hf"
    gguf = pathlib.Path(runner.arguments.peers) / "smollm2.gguf"
    base = ["train", "--model", gguf, "--data", rows, "--template", "alpaca", "--batch-rows", 8, "--cutoff", 512, "--dropout", 0, *LORA]
    base += ["--set", "train.epochs=1.0"]
    kind, count = runner.arguments.peer_types[-1], runner.arguments.real_rows
    peer = lambda name, *flags: runner.peer(  # noqa: E731
        name, "train_peft.py", "--model", hub, "--data", rows, "--rows", runner.arguments.real_rows, "--length", 512,
        "--threads", runner.arguments.threads, "--dtype", kind, *flags
    )
    ours, stored, default, bucket = runner.rounds(
        lambda: runner.ours("ours, real rows", *base),
        lambda: runner.ours("ours, real rows, Q4_1 as stored", *base, "--precision", "stored"),
        lambda: peer("PEFT, padded"),
        lambda: peer("PEFT, bucketed", "--bucket"),
    )
    rate = lambda results: median(results, "tokens_per_second")  # noqa: E731
    yield f"train {count} real rows, real tokens/s", f"PEFT in {kind}, padded", rate(ours), rate(default)
    yield f"train {count} real rows, real tokens/s", f"PEFT in {kind}, bucketed", rate(ours), rate(bucket)
    peak = lambda results: median(results, "peak_bytes") / 1e6  # noqa: E731
    yield f"train {count} real rows, peak MB (less is better)", "PEFT, padded", peak(ours), peak(default)
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
    prompts = [flag for number in range(8) for flag in ("--prompt", f"Tell a long story about river number {number}.")]
    hub, gguf = pathlib.Path(runner.arguments.peers) / "smollm2-hf", pathlib.Path(runner.arguments.peers) / "smollm2-q4_0.gguf"
    kind = runner.arguments.peer_types[-1]
    eight = lambda precision: runner.ours(  # noqa: E731
        f"ours, decode 8, {precision}", "chat", "--model", gguf, "--precision", precision, "--max-tokens", 128, *prompts, run=False)
    stored, bf16, peer = runner.rounds(
        lambda: eight("stored"),
        lambda: eight("bf16"),
        lambda: runner.peer(f"transformers, {kind}, decode 8", "generate_torch.py", "--model", hub, "--batch", 8, "--dtype", kind,
                            "--threads", runner.arguments.threads, "--runs", 1),
    )
    for name, ours in (("Q4_0", stored), ("bf16", bf16)):
        yield (f"decode {name}, batch 8, tokens/s", f"transformers in {kind}", median(ours, "decode_tokens_per_second"),
               median(peer, "tokens_per_second"))


def score(runner):
    """Speed against the harness in the fast type, answers against its 32-bit floats."""
    limit, kind, peers = 300, runner.arguments.peer_types[-1], pathlib.Path(runner.arguments.peers)
    data = pathlib.Path(runner.arguments.data) / "medqa/phrases_no_exclude_test.jsonl"
    peer = lambda name, kind: runner.peer(  # noqa: E731
        name, "score_lm_eval.py", "--model", peers / "smollm2-hf", "--task", "medqa_4options", "--data", data, "--limit", limit,
        "--dtype", kind, "--threads", runner.arguments.threads, "--out", runner.scratch / f"items-{kind}.jsonl")
    ours, theirs = runner.rounds(
        lambda: runner.ours(
            "ours, MedQA", "eval", "--model", peers / "smollm2.gguf", "--task", "medqa", "--data", data, "--profile", "lm-eval",
            "--limit", limit, "--precision", "stored"),
        lambda: peer("lm-evaluation-harness, MedQA", kind),
    )
    predicted = next((runner.last_run / "eval").glob("*/medqa@*.jsonl"))
    rate = lambda results: limit / median(results, "wall_seconds")  # noqa: E731
    yield "score MedQA, whole command, questions/s", f"lm-evaluation-harness in {kind}", rate(ours), rate(theirs)
    yield ("score MedQA, questions/s", f"lm-evaluation-harness in {kind}, without its start", rate(ours),
           median(theirs, "items_per_second"))
    if kind != "float32":
        peer("lm-evaluation-harness in float32, MedQA", "float32")
    lines = lambda path: map(json.loads, path.read_text(encoding="utf-8").splitlines())  # noqa: E731
    exact = [item["loglikelihoods"] for item in lines(runner.scratch / "items-float32.jsonl")]
    found = {"ours": [item["loglikelihoods"] for item in lines(predicted)]}
    found["theirs"] = [item["loglikelihoods"] for item in lines(runner.scratch / f"items-{kind}.jsonl")]
    clear = [number for number, values in enumerate(exact) if gap(values) > 0.05]
    reference = f"lm-evaluation-harness in {kind}, to its own float32"
    for name, items in ((f"{len(clear)} questions with a gap over 0.05 nat", clear), (f"all {len(exact)} questions", range(len(exact)))):
        same = {side: 100 * statistics.fmean(best(values[item]) == best(exact[item]) for item in items) for side, values in found.items()}
        yield f"the choice of its float32, % of {name}", reference, same["ours"], same["theirs"]
    for name, part in (("a log-likelihood", lambda values: values), ("two choices' log-likelihoods", lambda values: [a - b for a, b in itertools.combinations(values, 2)])):
        apart = {
            side: statistics.fmean(abs(x - y) for pair in zip(values, exact, strict=True) for x, y in zip(*map(part, pair), strict=True))
            for side, values in found.items()
        }
        yield f"mean difference of {name}, nat (less is better)", reference, apart["ours"], apart["theirs"]


def best(values):
    return max(range(len(values)), key=values.__getitem__)


def gap(values):
    """How far the best of several values is from the next."""
    best, second = sorted(values, reverse=True)[:2]
    return best - second


def large(runner):
    gguf = runner.scratch / "synthetic-7b.gguf"
    subprocess.run([sys.executable, ROOT / "bench/synthetic_model.py", "--out", gguf], check=True)
    rows = packed_rows(runner, gguf, tokens=512, count=4)
    flags = ["train", "--model", gguf, "--precision", "stored", "--data", rows, "--loss", "all", "--batch-rows", 1, "--max-steps", 2]
    flags += ["--dropout", 0, *LORA]
    kept, again = runner.rounds(
        lambda: runner.ours("ours, 7B", *flags), lambda: runner.ours("ours, 7B, recomputed", *flags, "--set", "recompute='always'")
    )
    gguf.unlink()
    # 6.61 G weights, two operations forward and two backward each.
    for name, results in (("", kept), (", activations computed again", again)):
        rate = median(results, "tokens_per_second") * 26.4
        yield f"7B shape in Q4_K, 512 tokens a step{name}, GFLOP/s (26.4 a token)", "the processor's peak", rate, runner.peak
        yield f"7B shape in Q4_K{name}, peak MB (less is better)", "limit", median(results, "peak_bytes") / 1e6, 8000


def quality(runner):
    """200 steps on the same rows: how far the curves of the dev loss lie apart."""
    gguf, rows = pathlib.Path(runner.arguments.peers) / "smollm2.gguf", real_rows(runner)
    flags = ["train", "--model", gguf, "--data", rows, "--template", "alpaca", "--batch-rows", 1, "--cutoff", 512, "--max-steps", 200]
    flags += ["--dropout", 0, *LORA[:-1], "train.dev_fraction=0.1", "--set", "train.evaluate_every=25", "--set", "train.keep='last'"]
    curves = {}
    for precision in ("f32", "bf16", "stored"):
        runner.ours(f"ours, 200 steps, {precision}", *flags, "--precision", precision)
        lines = (runner.last_run / "train/metrics.jsonl").read_text(encoding="utf-8").splitlines()
        curves[precision] = [line["dev_loss"] for line in map(json.loads, lines) if line.get("dev_loss") is not None]
        runner.raw[-1]["found"]["dev_losses"] = curves[precision]
    for name in ("bf16", "stored"):
        apart = max(abs(ours / base - 1) for ours, base in zip(curves[name], curves["f32"], strict=True))
        yield f"dev loss over 200 steps, {name} (Q4_1 in the file), farthest from f32, %", "limit", 100 * apart, 0.5


ROWS = {"train": train, "real": real, "forward": forward, "decode": decode, "score": score, "large": large, "quality": quality}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True)
    parser.add_argument("--scripts", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--name", help="of the result files, instead of the date")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real-rows", type=int, default=256)
    parser.add_argument("--peer-types", type=lambda text: text.split(","), default=["float32", "bfloat16"])
    parser.add_argument("--peer-steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    for name in ("peers", "scripts", "data"):
        setattr(arguments, name, str(pathlib.Path(getattr(arguments, name)).resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        runner, lines = Runner(arguments, scratch), []
        doctor = runner.ours("doctor", "doctor", run=False)
        runner.peak = next(one["peak_gflops_bf16"] for one in doctor["kernels"] if one["path"] == doctor["used"])
        commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False)
        for name in arguments.rows.split(","):
            for work, against, ours, theirs in ROWS[name](runner):
                lines.append({"work": work, "against": against, "ours": ours, "theirs": theirs,
                              "ratio": ours / theirs if theirs else None})
            # After every group, so that a later failure loses nothing.
            write(arguments, runner, lines, doctor, commit.stdout.strip(), scratch)


def figure(value):
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"


def ratio(value):
    """Nothing can be told where theirs is 0: the peer in 32 bits is its own reference."""
    return "" if value is None else f"{value:.2f}"


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
    name = arguments.name or date
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    table = ["| work | against | ours | theirs | ratio |", "|---|---|---:|---:|---:|"]
    table += [f"| {l['work']} | {l['against']} | {figure(l['ours'])} | {figure(l['theirs'])} | {ratio(l['ratio'])} |" for l in lines]
    head = f"{date}, commit {commit}, {processor}, kernels {doctor['used']}, {arguments.threads} threads, medians; rounds: {arguments.rounds}.\n\n"
    (folder / f"{name}.md").write_text(head + "\n".join(table) + "\n", encoding="utf-8")
    print(head + "\n".join(table))


if __name__ == "__main__":
    main()
