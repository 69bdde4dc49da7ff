//! The kept set of thousands of rows against `rouge_score` 0.1.2 as the scripts of Alpaca and Self-Instruct drive it.

use std::path::Path;
use std::process::Command;

use bioinstruct_text::novelty::{NoveltyFilter, NoveltyRule, Verdict};
use serde_json::Value;

use crate::golden;

/// The generator of `make_join.py`.
struct Generator(u64);

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// A row near F = 0.7 to an earlier one, as `tie_row` of the script makes it.
fn tie_row(generator: &mut Generator, earlier: &[Vec<usize>]) -> Vec<usize> {
    if earlier.is_empty() || generator.below(4) == 0 {
        let length = 5 + generator.below(12);
        return (0..length).map(|_| generator.below(400)).collect();
    }
    let base = &earlier[generator.below(earlier.len())];
    let m = base.len();
    let is_tied = |&n: &usize| (7 * (m + n)).is_multiple_of(20) && 7 * (m + n) / 20 <= m.min(n);
    let lengths: Vec<usize> = (1..41).filter(is_tied).collect();
    if lengths.is_empty() {
        let mut copy = base.clone();
        let token = generator.below(400); // Python evaluates the right side first
        copy[generator.below(m)] = token;
        return copy;
    }
    let n = lengths[generator.below(lengths.len())];
    let mut common = 7 * (m + n) / 20;
    match generator.below(6) {
        0 if common > 1 => common -= 1,
        1 if common < m.min(n) => common += 1,
        _ => {}
    }
    let mut shared = Vec::new();
    for (place, &token) in base.iter().enumerate() {
        if generator.below(m - place) < common - shared.len() {
            shared.push(token);
        }
    }
    let mut shared = shared.into_iter();
    let mut row = Vec::new();
    for place in 0..n {
        let token = if generator.below(n - place) < shared.len() { shared.next() } else { None };
        row.push(token.unwrap_or_else(|| 400 + generator.below(10_000)));
    }
    row
}

fn tie_rows() -> Vec<String> {
    let mut generator = Generator(7);
    let mut rows: Vec<Vec<usize>> = Vec::new();
    for _ in 0..5000 {
        let row = tie_row(&mut generator, &rows);
        rows.push(row);
    }
    let text =
        |row: Vec<usize>| row.iter().map(|token| format!("w{token}")).collect::<Vec<_>>().join(" ");
    rows.into_iter().map(text).collect()
}

/// The questions of every fifth row, when the public data lie beside the repository.
#[expect(clippy::print_stderr, reason = "a test that is skipped says why")]
fn medquad_rows() -> Option<Vec<String>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    let folder = std::env::var("BIOINSTRUCT_TEST_DATA").unwrap_or_else(|_| beside.to_owned());
    let file = Path::new(&folder).join("medquad/medquad_answered.jsonl.gz");
    if !file.exists() {
        eprintln!("skipped: there is no {}", file.display());
        return None;
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(&file).output().unwrap();
    assert!(unpacked.status.success());
    let text = String::from_utf8(unpacked.stdout).unwrap();
    let question = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        row["question"].as_str().unwrap().to_owned()
    };
    Some(text.lines().step_by(5).take(3000).map(question).collect())
}

/// The positions of the ones of a hexadecimal number.
fn kept_rows(hexadecimal: &str) -> Vec<usize> {
    let digits = hexadecimal.chars().rev().enumerate();
    digits
        .flat_map(|(place, digit)| {
            let digit = digit.to_digit(16).unwrap();
            (0..4).filter(move |bit| digit >> bit & 1 == 1).map(move |bit| 4 * place + bit)
        })
        .collect()
}

fn check(set: &str, texts: &[String]) {
    let golden: Value = serde_json::from_str(&golden("novelty_join.json")).unwrap();
    assert_eq!(golden[set]["rows"], texts.len());
    let rules = [
        ("alpaca", NoveltyRule::ALPACA),
        ("self-instruct", NoveltyRule::SELF_INSTRUCT),
        ("paper", NoveltyRule::PAPER),
    ];
    for (script, rule) in rules {
        let expected = kept_rows(golden[set][script].as_str().unwrap());
        assert!((200..4800).contains(&expected.len()), "{set} {script} decides nothing");
        for threads in [1, 2, 4] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut filter = NoveltyFilter::new(rule).unwrap();
            let verdicts = pool.install(|| filter.admit_all(texts));
            let kept: Vec<usize> =
                (0..texts.len()).filter(|&row| verdicts[row] == Verdict::Kept).collect();
            assert_eq!(kept, expected, "{set}, {script}, {threads} threads");
        }
    }
}

#[test]
fn five_thousand_rows_near_the_threshold_are_decided_as_in_the_scripts() {
    check("ties", &tie_rows());
}

#[test]
fn three_thousand_real_questions_are_decided_as_in_the_scripts() {
    if let Some(texts) = medquad_rows() {
        check("medquad", &texts);
    }
}
