//! `doctor`: what this machine can do, measured where a measurement is quick.

use std::process::Command;
use std::time::Instant;

use bioinstruct_engine::kernels::gemm::{LeftBuffer, Output, Product, Term, multiply};
use bioinstruct_engine::kernels::lanes::{Lane, Precision};
use bioinstruct_engine::kernels::peak::peak;
use bioinstruct_engine::kernels::source::{Direction, Source, Values};
use bioinstruct_engine::kernels::threads::Threads;
use bioinstruct_engine::kernels::{KERNELS_VARIABLE, KernelPath};
use serde_json::json;

use crate::arguments::Globals;
use crate::console::Console;
use crate::model;

pub(crate) fn run(globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let threads = Threads::new(globals.threads.unwrap_or(0))?;
    let chosen = KernelPath::choose()?;
    let mut kernels = Vec::new();
    console.print(&format!("threads    {}\n", threads.count()))?;
    for path in KernelPath::ALL {
        if !path.available() {
            console.print(&format!("kernels    {:<11} not on this processor\n", path.name()))?;
            continue;
        }
        let rate = gigaflops(path, &threads, Precision::F32);
        let pairs = gigaflops(path, &threads, Precision::Bf16);
        let mark = if path == chosen { "  <- used" } else { "" };
        let peaks = [Precision::F32, Precision::Bf16];
        let [peak, peak_bf16] = peaks.map(|precision| peak(path, &threads, precision) / 1e9);
        console.print(&format!(
            "kernels    {:<11} GFLOP/s: {rate:>5.0} of {peak:>5.0} in f32, {pairs:>5.0} of {peak_bf16:>5.0} in bf16{mark}\n",
            path.name()
        ))?;
        kernels.push(json!({
            "path": path.name(), "gflops": rate, "gflops_bf16": pairs, "peak_gflops": peak,
            "peak_gflops_bf16": peak_bf16,
        }));
    }
    console.print(&format!("           {KERNELS_VARIABLE} forces one\n"))?;
    let memory = memory_bytes();
    if let Some(bytes) = memory {
        console.print(&format!("memory     {:.1} GB\n", bytes as f64 / 1e9))?;
    }
    let pip = python_pip();
    let said = pip
        .as_deref()
        .unwrap_or("python3 with pip is not there: models in wheels cannot be fetched");
    console.print(&format!("pip        {said}\n"))?;
    let cached = model::cached(globals.offline)?;
    let names: Vec<&str> = cached.iter().map(|model| model.source.as_str()).collect();
    let listed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    console.print(&format!(
        "models     {listed} cached in {}\n",
        model::cache_directory()?.display()
    ))?;
    console.summary(&json!({
        "threads": threads.count(), "kernels": kernels, "used": chosen.name(), "memory_bytes": memory,
        "pip": pip, "cached": names,
    }))
}

/// Billions of operations a second: the best of a few products of the size that a small model's layers have.
fn gigaflops(path: KernelPath, threads: &Threads, precision: Precision) -> f64 {
    let (rows, n, k) = (2048, 1536, 576);
    let lane = Lane::of(path, precision);
    let weights = vec![0x3E80; n * k];
    let right = Source::new(Values::Bf16(&weights), k, Direction::Transposed);
    let (mut left, mut c) = (LeftBuffer::default(), vec![0.0; rows * n]);
    left.put((path, threads), lane, &vec![0.5; rows * k], k);
    let best = (0..12)
        .map(|_| {
            let terms = vec![Term { left: left.left(), right, first_row: 0, rows }];
            let mut products = [Product { c: &mut c, n, rows, terms, output: Output::Store }];
            let begin = Instant::now();
            multiply((path, threads), lane, &mut products);
            begin.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    2.0 * (rows * n * k) as f64 / best / 1e9
}

fn memory_bytes() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

fn python_pip() -> Option<String> {
    let output = Command::new("python3").args(["-m", "pip", "--version"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut words = text.split_whitespace();
    (output.status.success()).then(|| {
        format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default())
    })
}
