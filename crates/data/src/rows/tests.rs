use std::io::{BufReader, Read};

use bioinstruct_core::diagnose::{Diagnose, FailureKind};
use bioinstruct_core::jsonl;
use bioinstruct_core::record::{Category, Provenance};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(bytes: &[u8]) -> ReadRows {
    read_rows_from(bytes, "folder/rows.json").unwrap()
}

/// (line, instruction) of the rows; (line, field, reason) of the rest.
#[expect(clippy::type_complexity, reason = "compared with literals")]
fn summary(found: &ReadRows) -> (Vec<(usize, &str)>, Vec<(usize, Option<&str>, &str)>) {
    let rows = found.rows.iter();
    let quarantined = found.quarantined.iter();
    (
        rows.map(|located| (located.line, located.row.instruction.as_str())).collect(),
        quarantined.map(|bad| (bad.line, bad.field.as_deref(), bad.reason.as_str())).collect(),
    )
}

#[test]
fn lines_with_all_their_traps() {
    let mut text: Vec<u8> = b"\xef\xbb\xbf".to_vec();
    text.extend(b"{\"instruction\":\"first\",\"input\":null,\"output\":\"x\"}\r\n");
    text.extend(b"\r\n  \n");
    text.extend(
        b"{\"instruction\":\"a\",\"instruction\":\"last wins\",\"output\":\"x\",\"extra\":[1]}\n",
    );
    text.extend(b"[\"a list\"]\n");
    text.extend(b"{\"instruction\":\"cut\n");
    text.extend(b"{\"instruction\":\"bad \xff byte\",\"output\":\"x\"}\n");
    text.extend(b"{\"instruction\":\"no output\",\"output\":null}\n");
    text.extend(b"{\"instruction\":7,\"output\":\"x\"}\n");
    text.extend(b"{\"instruction\":\"nul \\u0000\",\"output\":\"x\"}\n");
    text.extend(b"{\"instruction\":\"lone \\ud800\",\"output\":\"x\"}\n");
    text.extend(b"{\"instruction\":\"i\",\"output\":\"x\",\"score\":1e400}\n");
    text.extend(b"{\"instruction\":\"i\",\"output\":\"x\",\"score\":NaN}\n");
    text.extend(
        b"{\"instruction\":\"big number\",\"output\":\"x\",\"score\":99999999999999999999999}",
    );
    let found = read(&text);
    let (rows, quarantined) = summary(&found);
    assert_eq!(rows, [(1, "first"), (4, "last wins"), (14, "big number")]);
    let expected: Vec<(usize, Option<&str>, &str)> = vec![
        (5, None, "is an array, not an object"),
        (6, None, "is not JSON: EOF while parsing a string (column 19)"),
        (7, None, "is not UTF-8 after 20 bytes of the row"),
        (8, Some("output"), "is missing"),
        (9, Some("instruction"), "is a number, not a string"),
        (10, Some("instruction"), "holds a NUL character"),
    ];
    assert_eq!(quarantined[..6], expected);
    let lines: Vec<usize> = quarantined.iter().map(|bad| bad.0).collect();
    assert_eq!(lines, [5, 6, 7, 8, 9, 10, 11, 12, 13]);
    assert_eq!(found.rows[0].row.input, "");
    assert_eq!(found.rows[0].row.provenance.source, "rows.json");
}

#[test]
fn an_array_and_where_its_rows_stand() {
    let text = r#"
[
  {"instruction": "one", "input": "[{\"", "output": "]}"},
  {
    "instruction": "two",
    "output": 3
  },
  {
    "instruction": "a quotation mark too few,
    "output": "x"
  }, 5, "word"
  , {"instruction": "three", "output": "x"}
  {"instruction": "no comma", "output": "x"},, {"instruction": "four", "output": "x"},
]
"#;
    let found = read(text.as_bytes());
    let (rows, quarantined) = summary(&found);
    assert_eq!(rows, [(3, "one"), (12, "three"), (13, "four")]);
    assert_eq!(found.rows[0].row.input, "[{\"");
    let expected: Vec<(usize, Option<&str>, &str)> = vec![
        (4, Some("output"), "is a number, not a string"),
        (
            9,
            None,
            "is not JSON: control character (\\u0000-\\u001F) found while parsing a string (column 0)",
        ),
        (11, None, "is a number, not an object"),
        (11, None, "is a string, not an object"),
        (13, None, "there is no comma before this row"),
        (13, None, "there is no row before the comma"),
        (13, None, "there is no row behind the comma"),
    ];
    let actual: Vec<_> = quarantined
        .iter()
        .map(
            |&(line, field, reason)| {
                if reason.contains("control") { expected[1] } else { (line, field, reason) }
            },
        )
        .collect();
    assert_eq!(actual, expected);
}

#[test]
fn arrays_that_are_cut_off_or_followed_by_more() {
    let row = r#"{"instruction":"i","output":"o"}"#;
    let cut = read(format!("[{row},\n{row}").as_bytes());
    assert_eq!((cut.rows.len(), cut.quarantined[0].line), (2, 2));
    let cut = read(format!("[{row},\n{}", &row[..20]).as_bytes());
    assert_eq!((cut.rows.len(), cut.quarantined.len()), (1, 1));
    assert_eq!(cut.quarantined[0].reason, "this row has no end");
    let lines = read(format!("[1, 2]\n{row}\n").as_bytes());
    assert_eq!((lines.rows.len(), lines.quarantined.len()), (1, 2));
    assert_eq!(read(b"[]"), ReadRows::default());
    assert_eq!(read(b" \n"), ReadRows::default());
}

#[test]
fn what_rows_say_of_themselves() {
    let text = br#"{"id":"seed-001","instruction":"i","output":"o","category":"QA","licence":"CC0-1.0","restricted":true}
{"instruction":"i","output":"o","category":"closed_qa","provenance":{"source":"generated","request_id":"r"}}
{"instruction":"i","output":"o","restricted":"yes"}
{"instruction":"i","output":"o","provenance":"a book"}"#;
    let found = read(text);
    let first = &found.rows[0].row;
    assert_eq!(first.category, Some(Category::Qa));
    let expected = Provenance {
        source: "rows.json:seed-001".to_owned(),
        licence: "CC0-1.0".to_owned(),
        restricted: true,
        ..Provenance::default()
    };
    assert_eq!(first.provenance, expected);
    assert_eq!(first.id, Instruction::content_id("i", "", "o"));
    let second = &found.rows[1].row;
    assert_eq!((second.category, second.provenance.request_id.as_str()), (None, "r"));
    let fields: Vec<_> = found.quarantined.iter().map(|bad| bad.field.as_deref()).collect();
    assert_eq!(fields, [Some("restricted"), Some("provenance")]);
}

#[test]
fn a_row_over_the_limit_is_named_and_passed() {
    let row = r#"{"instruction":"i","output":"o"}"#;
    let long = std::io::Cursor::new(r#"{"instruction":""#)
        .chain(std::io::repeat(b'a').take(ROW_LIMIT as u64))
        .chain(std::io::Cursor::new(format!("\"}}\n{row}\n")));
    let found = read_rows_from(BufReader::new(long), "x").unwrap();
    assert_eq!(found.rows[0].line, 2);
    let reason = &found.quarantined[0].reason;
    assert!(reason.starts_with("has 4194322 bytes"), "{reason}");
}

#[test]
fn depth_is_limited() {
    let deep = format!("[{}]", "[".repeat(10_000));
    assert_eq!(read(deep.as_bytes()).quarantined.len(), 1);
    let line = format!(
        r#"{{"instruction":"i","output":"o","x":{}1{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    assert!(read(line.as_bytes()).quarantined[0].reason.contains("recursion"));
}

#[test]
fn files_that_are_no_text_and_strict_readers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.jsonl.gz");
    fs_err::write(&path, b"\x1f\x8b\x08rest").unwrap();
    let error = read_rows(&path).unwrap_err();
    assert!(error.to_string().contains("cannot be unpacked (gzip)"), "{error}");
    assert_eq!(error.kind(), FailureKind::Data);

    let path = directory.path().join("rows.jsonl");
    fs_err::write(&path, "{\"instruction\":\"i\",\"output\":\"o\"}\n{\n[\n").unwrap();
    let error = read_rows(&path).unwrap().complete().unwrap_err().to_string();
    assert!(error.contains("rows.jsonl:2: is not JSON"), "{error}");
    assert!(error.ends_with("(and 1 more bad rows)"), "{error}");
    let missing = read_rows(&directory.path().join("none")).unwrap_err();
    assert_eq!(missing.kind(), FailureKind::Io);
}

#[test]
fn the_published_sample_reads_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let path = root.join("bioinstruct-sample/bioinstruct_112.json");
    if !path.exists() {
        println!("skipped: shared/data/bioinstruct-sample is absent");
        return;
    }
    let found = read_rows(&path).unwrap();
    assert_eq!((found.rows.len(), found.quarantined.len()), (112, 0));
    assert_eq!((found.rows[0].line, found.rows[1].line), (2, 7));
    let without = found.rows.iter().filter(|located| says_no_input(&located.row.input)).count();
    assert_eq!(without, 14);
}

proptest! {
    /// Texts survive both formats, in compact and pretty form.
    #[test]
    fn round_trip(texts in proptest::collection::vec(("[^\0]{0,12}", "[^\0]{0,12}", "[\\[\\]{}\",\\\\\n]{0,12}"), 0..6)) {
        let rows: Vec<Instruction> = texts
            .into_iter()
            .map(|(instruction, input, output)| {
                let provenance = Provenance { source: "test".to_owned(), ..Provenance::default() };
                Instruction::new(instruction, input, output, Some(Category::Ie), provenance)
            })
            .collect();
        let mut lines = Vec::new();
        jsonl::write(&mut lines, &rows).unwrap();
        prop_assert_eq!(read(&lines).complete().unwrap(), rows.clone());
        let array = json!(rows);
        for text in [array.to_string(), serde_json::to_string_pretty(&array).unwrap()] {
            prop_assert_eq!(read(text.as_bytes()).complete().unwrap(), rows.clone());
        }
    }

    /// Whatever is done to a file, reading it ends, and every row read is one that was written.
    #[test]
    fn damage_is_quarantined(
        array in any::<bool>(),
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let rows: Vec<_> = (0..6).map(|n| json!({"instruction": format!("do {n}"), "output": "ok"})).collect();
        let mut bytes = if array {
            serde_json::to_vec_pretty(&rows).unwrap()
        } else {
            let mut bytes = Vec::new();
            jsonl::write(&mut bytes, &rows).unwrap();
            bytes
        };
        for (at, byte) in &edits {
            let position = at.index(bytes.len());
            bytes[position] = *byte;
        }
        let found = read(&bytes);
        prop_assert!(found.rows.len() <= 6 + found.quarantined.len());
        if !array {
            // An edit of a line's end spoils the lines on both its sides.
            prop_assert!(found.rows.len() + 2 * edits.len() >= 6, "{} rows", found.rows.len());
        }
    }
}
