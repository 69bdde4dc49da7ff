//! Rows with something broken in them: [`mutated_file`] makes a file of them, [`survive`] puts it through reading and curation.

use std::fmt::Write as _;

use bioinstruct_core::jsonl;
use bioinstruct_core::random::{Draws, Stream};
use bioinstruct_curate::{CurateConfig, Dialect, Keep, NoveltyKey, curate};
use bioinstruct_data::rows::read_rows_from;

const SEEDS: &str = include_str!("../../../../seeds/seed_tasks.jsonl");

/// Pieces that break parsers, tokenizers and tables.
const ODD: [&str; 24] = [
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00\\ud800",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "1e999",
    "\u{feff}",
    "\0",
    "\r",
    "\t",
    "\u{2028}",
    "e\u{301}",
    "🧬",
    "ß",
    "İ",
    "### Instruction",
    "<|im_end|>",
];

/// What became of the rows of a file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) read: usize,
    pub(crate) kept: usize,
    pub(crate) rejected: usize,
    pub(crate) quarantined: usize,
}

/// `count` rows, about half of them broken, as the bytes of one file; every draw is named by `seed` and `number`.
pub(crate) fn mutated_file(seed: u64, number: u64, count: usize) -> Vec<u8> {
    let mut draws = Stream::new(seed, "mutated rows").at(number);
    let seeds: Vec<&str> = SEEDS.lines().collect();
    let mut file = Vec::new();
    let is_array = draws.below(8) == 0;
    if is_array {
        file.push(b'[');
    }
    for row in 0..count {
        if is_array && row > 0 {
            file.push(b',');
        }
        let mut bytes = match draws.below(4) {
            0 => seeds[draws.below(seeds.len())].as_bytes().to_vec(),
            _ => made_up(&mut draws).into_bytes(),
        };
        if draws.below(2) == 0 {
            for _ in 0..=draws.below(3) {
                mutate(&mut bytes, &mut draws);
            }
        }
        file.extend(bytes);
        file.push(b'\n');
    }
    if is_array && draws.below(4) > 0 {
        file.push(b']');
    }
    file
}

/// A row of odd words, as a rule a valid one; few words, so that many rows are alike.
fn made_up(draws: &mut Draws) -> String {
    let text = |draws: &mut Draws| {
        let mut text = String::new();
        for _ in 0..draws.below(14) {
            match draws.below(12) {
                0 => text.push_str(ODD[draws.below(ODD.len())]),
                1 => text.extend(char::from_u32(draws.next_u32() % 0x0011_0000)),
                _ => write!(text, "word{} ", draws.below(30)).expect("strings take all"),
            }
        }
        text
    };
    let mut row = serde_json::json!({"instruction": text(draws), "input": text(draws), "output": text(draws)});
    match draws.below(8) {
        0 => row["category"] = serde_json::json!(text(draws)),
        1 => row["provenance"] = serde_json::json!({"source": text(draws), "licence": text(draws)}),
        2 => row["output"] = serde_json::json!([text(draws)]),
        3 => row["input"] = serde_json::Value::Null,
        _ => {}
    }
    row.to_string()
}

fn mutate(bytes: &mut Vec<u8>, draws: &mut Draws) {
    let at = draws.below(bytes.len() + 1);
    let end = (at + draws.below(20)).min(bytes.len());
    match draws.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << draws.below(8),
        1 => bytes.truncate(at),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        4 => drop(bytes.splice(at..at, ODD[draws.below(ODD.len())].bytes())),
        5 => drop(bytes.splice(at..at, (0..4).map(|_| draws.next_u32() as u8).collect::<Vec<_>>())),
        6 => drop(bytes.splice(at..at, "[{\"a\":".repeat(draws.below(300)).into_bytes())),
        _ => bytes.insert(at, b'\n'),
    }
}

/// Reads and curates a file with settings named by `number`; nothing may panic, and every piece must be somewhere.
pub(crate) fn survive(file: &[u8], number: u64) -> Tally {
    // A file whose first bytes are another format's is refused as a whole.
    let Ok(read) = read_rows_from(file, "mutated.jsonl") else { return Tally::default() };
    let lines = file.split(|&byte| byte == b'\n').count();
    let pieces = read.rows.len() + read.quarantined.len();
    assert!(read.rows.iter().all(|row| (1..=lines).contains(&row.line)));
    assert!(read.quarantined.iter().all(|piece| (1..=lines).contains(&piece.line)));
    let choose = |of: usize| number as usize % of;
    let dialects = [Dialect::Paper, Dialect::Alpaca, Dialect::SelfInstruct, Dialect::Alpacare];
    let dialect = dialects[choose(4)];
    let keys = [NoveltyKey::Instruction, NoveltyKey::InstructionAndInput, NoveltyKey::All];
    let is_longest = choose(5) == 0 && dialect != Dialect::Alpacare;
    let config = CurateConfig {
        dialect,
        also: vec!["quality".to_owned(), "exact".to_owned()],
        key: keys[choose(3)],
        keep: if is_longest { Keep::Longest } else { Keep::First },
        ..CurateConfig::default()
    };
    let outcome = curate(read, &[], &config).expect("the settings have meaning");
    let tally = Tally {
        read: outcome.read,
        kept: outcome.kept.len(),
        rejected: outcome.rejected.len(),
        quarantined: outcome.quarantined.len(),
    };
    assert_eq!(tally.read, pieces);
    assert_eq!(tally.read, tally.kept + tally.rejected + tally.quarantined);
    let mut written = Vec::new();
    jsonl::write(&mut written, &outcome.kept).expect("memory takes all");
    let again = read_rows_from(&written[..], "mutated.jsonl").expect("what we write is text");
    assert!(again.quarantined.is_empty(), "{:?}", again.quarantined);
    assert!(again.rows.iter().map(|located| &located.row).eq(&outcome.kept));
    tally
}
