"""Times `bioinstruct curate --only exact,rouge-l` as a user calls it, beside the loop of Alpaca's script, on real text.

    python bench/curation.py --data DIR --peer PYTHON --script rouge_filter.py [--sets varied:25005,…] [--rounds 3] [--out DIR] [--binary FILE]

--data is the public data folder; --peer a Python with rouge-score 0.1.2, --script the peer's loop (called as `SCRIPT FILE N`).
Without them only ours is run. A set is KIND:ROWS, KIND as in crates/text/bench/make_corpus.py, which chooses the instructions;
outputs are openings of MedQuAD answers, so that rows have the size of rows. Ours is `target/release/bioinstruct`: the whole
process, from reading the file to the last published byte, with two threads. Needs only Python's standard library.

The peer finishes the first --peer-rows rows; what it would need for the whole set is its rate times the pairs (row and kept row
before it) of the whole set, and is called an extrapolation wherever it stands. Ours must keep the same of those first rows.
Writes bench/results/DATE.curation.{json,md,svg}.
"""

import argparse
import datetime
import importlib.util
import json
import math
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SETS = "questions:22863,varied:25005,varied:52000,varied:250000,varied:1000000,templated:52000,templated:400000"
LIMITS = {25005: 0.5, 52000: 1.5, 250000: 40.0, 1000000: 600.0}


def corpus_module():
    spec = importlib.util.spec_from_file_location("make_corpus", ROOT / "crates/text/bench/make_corpus.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_set(corpus, data, kind, count, path):
    answers = [row["answer"][:400] for row in corpus.medquad(data) if row["answer"].strip()]
    with open(path, "w", encoding="utf-8") as file:
        for at, text in enumerate(corpus.rows(kind, data, count)):
            row = {"instruction": text, "input": "", "output": answers[at % len(answers)]}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    os.sync()  # or the first files of ours would wait until this one is on the disk


def timed(command):
    """Runs a command whose last line is a JSON object; adds wall and CPU seconds and peak memory."""
    begin = time.monotonic()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")
    found = json.loads(said.strip().splitlines()[-1])
    return found | {
        "wall_seconds": time.monotonic() - begin,
        "cpu_seconds_of_process": usage.ru_utime + usage.ru_stime,
        "peak_mebibytes": usage.ru_maxrss / 1024,
    }


def ours(binary, path, scratch, dialect):
    directory = pathlib.Path(tempfile.mkdtemp(dir=scratch))
    command = [
        binary, "curate", path, "--dialect", dialect, "--only", "exact,rouge-l", "--threads", 2,
        "--set", "curate.seeds=''", "--offline", "--json", "--run", directory,
    ]
    found = timed(command)
    with open(directory / "dataset/origins.jsonl", encoding="utf-8") as file:
        found["kept_lines"] = sorted(json.loads(line)["line"] for line in file)
    for file in directory.glob("dataset/*"):
        file.unlink()
    return found


def measure(arguments, corpus, kind, count, scratch):
    path = pathlib.Path(scratch) / f"{kind}-{count}.jsonl"
    write_set(corpus, arguments.data, kind, count, path)
    rounds = [ours(arguments.binary, path, scratch, "paper") for _ in range(arguments.rounds)]
    rows = rounds[0]["read"]
    kept = rounds[0].pop("kept_lines")
    median = lambda name: statistics.median(found[name] for found in rounds)
    result = {
        "set": kind, "rows": rows, "kept": len(kept), "kept_share": len(kept) / rows,
        "pairs": sum(rows - line for line in kept), "wall_seconds": median("wall_seconds"),
        "cpu_seconds": median("cpu_seconds_of_process"), "peak_mebibytes": median("peak_mebibytes"),
        "seconds_by_step": rounds[-1].get("seconds"), "rounds_wall": [found["wall_seconds"] for found in rounds],
    }
    if arguments.peer and arguments.script:
        result["peer"] = peer(arguments, path, scratch, result)
    path.unlink()
    print(f"  {kind} {rows}: {result['wall_seconds']:.2f} s wall, {result['cpu_seconds']:.2f} s CPU", file=sys.stderr)
    return result


def peer(arguments, path, scratch, whole):
    start = pathlib.Path(scratch) / "start.jsonl"
    with open(path, encoding="utf-8") as file:
        start.write_text("".join(line for _, line in zip(range(arguments.peer_rows), file)), encoding="utf-8")
    found = timed([arguments.peer, arguments.script, start, arguments.peer_rows])
    kept = [line - 1 for line in ours(arguments.binary, start, scratch, "alpaca")["kept_lines"]]
    if kept != found["kept_indices"]:
        sys.exit(f"{path.name}: ours keeps other rows than the peer")
    seconds = found["nanoseconds_per_pair"] * 1e-9 * whole["pairs"]
    return {
        "rows": found["rows"], "pairs": found["pairs"], "cpu_seconds": found["cpu_seconds"],
        "nanoseconds_per_pair": found["nanoseconds_per_pair"], "extrapolated_cpu_seconds": seconds,
        "ratio_of_cpu": seconds / max(whole["cpu_seconds"], 1e-9), "same_rows_kept": True,
    }


def growth(results):
    """Slope of log CPU seconds over log pairs, by least squares."""
    points = [(math.log(one["pairs"]), math.log(one["cpu_seconds"])) for one in results if one["pairs"] > 0 and one["cpu_seconds"] > 0]
    if len(points) < 2:
        return None
    mean_x, mean_y = (statistics.mean(axis) for axis in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else None


def table(results, slope):
    lines = [
        "# Curation, measured", "",
        f"`curate --only exact,rouge-l`, whole process, two threads, medians. {platform.processor() or platform.machine()}, "
        f"{os.cpu_count()} processors, {datetime.date.today()}. Limits are those of the project's acceptance.", "",
        "| set | rows | kept | pairs | wall s | limit s | CPU s | peak MiB | peer, ns a pair | peer, extrapolated CPU s | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in results:
        limit = LIMITS.get(one["rows"], "–")
        other = one.get("peer")
        beside = f"{other['nanoseconds_per_pair']:,.0f} | {other['extrapolated_cpu_seconds']:,.0f} | {other['ratio_of_cpu']:,.0f} ×" if other else "– | – | –"
        lines.append(
            f"| `{one['set']}` | {one['rows']:,} | {100 * one['kept_share']:.1f} % | {one['pairs']:.2e} | {one['wall_seconds']:.2f} "
            f"| {limit} | {one['cpu_seconds']:.2f} | {one['peak_mebibytes']:.0f} | {beside} |"
        )
    if any("peer" in one for one in results):
        lines += ["", f"The peer ran the first {max(one['peer']['rows'] for one in results if 'peer' in one):,} rows of each set, kept the same of them as ours, and is extrapolated by the pairs "
                  "of the whole set. A pair is a row and a row kept before it."]
    if slope is not None:
        lines += ["", f"Growth: CPU time goes with the pairs to the power {slope:.2f} over these sets (the plot beside this file)."]
    return "\n".join(lines) + "\n"


def plot(results):
    """CPU seconds over pairs, both logarithmic."""
    width, height, edge = 640, 400, 60
    xs, ys = [math.log10(one["pairs"]) for one in results], [math.log10(one["cpu_seconds"]) for one in results]
    low_x, high_x, low_y, high_y = math.floor(min(xs)), math.ceil(max(xs)), math.floor(min(ys)), math.ceil(max(ys))
    place_x = lambda x: edge + (x - low_x) / max(high_x - low_x, 1) * (width - 2 * edge)
    place_y = lambda y: height - edge - (y - low_y) / max(high_y - low_y, 1) * (height - 2 * edge)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>']
    for x in range(low_x, high_x + 1):
        parts.append(f'<line x1="{place_x(x):.1f}" y1="{edge}" x2="{place_x(x):.1f}" y2="{height - edge}" stroke="#ddd"/>')
        parts.append(f'<text x="{place_x(x):.1f}" y="{height - edge + 18}" text-anchor="middle">10<tspan dy="-5" font-size="9">{x}</tspan></text>')
    for y in range(low_y, high_y + 1):
        parts.append(f'<line x1="{edge}" y1="{place_y(y):.1f}" x2="{width - edge}" y2="{place_y(y):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{edge - 8}" y="{place_y(y) + 4:.1f}" text-anchor="end">{10.0 ** y:g} s</text>')
    colours = {"questions": "#4477aa", "varied": "#ee6677", "templated": "#228833"}
    for one, x, y in zip(results, xs, ys):
        parts.append(f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="5" fill="{colours[one["set"]]}"><title>{one["set"]} {one["rows"]:,}</title></circle>')
        parts.append(f'<text x="{place_x(x) + 8:.1f}" y="{place_y(y) - 6:.1f}">{one["set"]} {one["rows"]:,}</text>')
    parts.append(f'<text x="{width / 2}" y="{height - 14}" text-anchor="middle">pairs: a row and a row kept before it</text>')
    parts.append(f'<text x="{edge}" y="30">CPU seconds of the whole process</text></svg>')
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--peer", type=pathlib.Path)
    parser.add_argument("--script", type=pathlib.Path)
    parser.add_argument("--peer-rows", type=int, default=3000)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench/results")
    parser.add_argument("--binary", type=pathlib.Path, default=ROOT / "target/release/bioinstruct", help="ours")
    given = parser.parse_args()
    corpus = corpus_module()
    with tempfile.TemporaryDirectory() as scratch:
        results = []
        for name in given.sets.split(","):
            kind, count = name.split(":")
            results.append(measure(given, corpus, kind, int(count), scratch))
    slope, stem = growth(results), f"{datetime.date.today()}.curation"
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / f"{stem}.json").write_text(json.dumps({"growth": slope, "results": results}, indent=1) + "\n", encoding="utf-8")
    (given.out / f"{stem}.md").write_text(table(results, slope), encoding="utf-8")
    (given.out / f"{stem}.svg").write_text(plot(results), encoding="utf-8")
    print(table(results, slope))
