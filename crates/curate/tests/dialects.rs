//! Every dialect keeps what its reference loop keeps (`tests/goldens/curate/make_dialects.py`).

use bioinstruct_core::record::{Instruction, Provenance, SeedTask};
use bioinstruct_curate::{CurateConfig, Dialect, curate};
use bioinstruct_data::rows::{LocatedRow, ReadRows};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    seeds: Vec<String>,
    kept: BTreeMap<String, Vec<usize>>,
    rows: Vec<[String; 3]>,
}

#[test]
fn dialects_keep_what_their_references_keep() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/curate/dialects.json");
    let golden: Golden = serde_json::from_str(&fs_err::read_to_string(path).unwrap()).unwrap();
    let seeds: Vec<SeedTask> = golden
        .seeds
        .iter()
        .map(|text| json!({"id": "s", "instruction": text, "output": "x", "category": "qa"}))
        .map(|value| serde_json::from_value(value).unwrap())
        .collect();
    let row = |texts: &[String; 3]| {
        let [instruction, input, output] = texts.clone();
        Instruction::new(instruction, input, output, None, Provenance::default())
    };
    let dialects = [Dialect::Paper, Dialect::Alpaca, Dialect::SelfInstruct, Dialect::Alpacare];
    for dialect in dialects {
        let located = golden.rows.iter().enumerate().map(|(line, texts)| LocatedRow {
            row: row(texts),
            file: "".into(),
            line,
        });
        let read = ReadRows { rows: located.collect(), quarantined: Vec::new() };
        let config = CurateConfig { dialect, ..CurateConfig::default() };
        let outcome = curate(read, &seeds, &config).unwrap();
        let dropped: BTreeMap<usize, &str> = outcome
            .rejected
            .iter()
            .map(|rejected| (rejected.line, rejected.reason.as_str()))
            .collect();
        let expected = &golden.kept[dialect.name()];
        for (position, texts) in golden.rows.iter().enumerate() {
            let reason = dropped.get(&position);
            assert_eq!(
                reason.is_none(),
                expected.contains(&position),
                "{} {position} {texts:?}: {reason:?}",
                dialect.name()
            );
        }
        assert!((20..380).contains(&expected.len()), "{} decides nothing", dialect.name());
    }
}
