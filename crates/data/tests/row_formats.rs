//! Row files of every format, packed and not: what is written is read again, and damaged or hostile files are refused or
//! quarantined by name, in bounded memory.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::io::Write;
use std::path::Path;

use bioinstruct_core::record::{Category, Exchange, Instruction, Provenance};
use bioinstruct_data::rows::{
    Format, Packing, ROW_LIMIT, ReadRows, RowsError, named_format, read_rows, read_rows_from,
    write_rows,
};
use proptest::prelude::*;
use serde_json::Value;

fn read_bytes(name: &str, bytes: &[u8]) -> Result<ReadRows, RowsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs_err::write(&path, bytes).unwrap();
    read_rows(&path)
}

fn written(format: Format, packing: Option<Packing>, rows: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_rows(&mut bytes, format, packing, rows).unwrap();
    bytes
}

fn row(instruction: &str, input: &str, output: &str) -> Instruction {
    let provenance = Provenance {
        source: "test".to_owned(),
        licence: "CC0-1.0".to_owned(),
        restricted: true,
        ..Provenance::default()
    };
    let [instruction, input, output] = [instruction, input, output].map(str::to_owned);
    Instruction::new(instruction, input, output, Some(Category::Ie), provenance)
}

fn reasons(found: &ReadRows) -> Vec<(usize, &str, &str)> {
    let bad = found.quarantined.iter();
    bad.map(|bad| (bad.line, bad.field.as_deref().unwrap_or_default(), bad.reason.as_str()))
        .collect()
}

const PACKINGS: [Option<Packing>; 3] = [None, Some(Packing::Gzip), Some(Packing::Zstandard)];

/// The row as a chat format gives it back: instruction and input are one message.
fn as_chat(row: &Instruction) -> Instruction {
    let (output, provenance) = (row.output.clone(), row.provenance.clone());
    Instruction::new(row.user_text(), String::new(), output, row.category, provenance)
        .in_conversation(row.system.clone(), row.history.clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_format_gives_its_rows_back(
        texts in prop::collection::vec(
            ("[^\0]{0,12}", "[^\0]{0,12}", "[\\[\\]{}\",;\\\\\t\r\n\u{e9}]{0,12}", any::<bool>()),
            1..6,
        ),
    ) {
        let rows: Vec<Instruction> = texts
            .iter()
            .map(|(instruction, input, output, long)| {
                let row = row(&format!("i{instruction}"), input, output);
                let turn = Exchange { user: output.clone(), assistant: instruction.clone() };
                if *long { row.in_conversation(format!("s{input}"), vec![turn]) } else { row }
            })
            .collect();
        for format in Format::ALL {
            let is_chat = format.name == "messages" || format.name == "sharegpt";
            let expected: Vec<Instruction> =
                rows.iter().map(|row| if is_chat { as_chat(row) } else { row.clone() }).collect();
            for packing in PACKINGS {
                let bytes = written(format, packing, &rows);
                prop_assert_eq!(&bytes, &written(format, packing, &rows));
                let found = read_bytes("rows", &bytes).unwrap().complete().unwrap();
                prop_assert_eq!(&found, &expected, "{} {:?}", format.name, packing);
            }
        }
    }

    /// Whatever is done to a file, reading it ends with rows, quarantine or an error.
    #[test]
    fn damaged_files_never_panic(
        format in 0usize..6,
        packing in 0usize..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let rows: Vec<Instruction> =
            (0..20).map(|n| row(&format!("do {n}"), "x,\"y\"", "ok")).collect();
        let mut bytes = written(Format::ALL[format], PACKINGS[packing], &rows);
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(found) = read_bytes("rows", &bytes) {
            prop_assert!(found.rows.len() <= 20 + found.quarantined.len());
        }
    }
}

#[test]
fn names_of_files_ask_for_formats() {
    let named = |name: &str| {
        let (format, packing) = named_format(Path::new(name));
        (format.map(|format| format.name), packing)
    };
    assert_eq!(named("a/rows.jsonl"), (Some("jsonl"), None));
    assert_eq!(named("rows.json.gz"), (Some("alpaca"), Some(Packing::Gzip)));
    assert_eq!(named("rows.csv.zst"), (Some("csv"), Some(Packing::Zstandard)));
    assert_eq!(named("rows.parquet"), (Some("parquet"), None));
    assert_eq!(named("rows.txt"), (None, None));
    assert!(Format::named("sharegpt").is_some() && Format::named("yaml").is_none());
}

#[test]
fn chats_of_one_turn_and_of_several() {
    let text = br#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}
{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}
{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":1},{"role":"user","content":"c"},{"role":"assistant","content":"d"}],"restricted":true}
"#;
    let rows = read_bytes("chats.jsonl", text).unwrap().complete().unwrap();
    let turns = |row: &Instruction| {
        let history: Vec<(String, String)> =
            row.history.iter().map(|turn| (turn.user.clone(), turn.assistant.clone())).collect();
        (row.system.clone(), history, row.instruction.clone(), row.output.clone())
    };
    let text = str::to_owned;
    assert_eq!(turns(&rows[0]), (text(""), vec![], text("a"), text("b")));
    assert_eq!(turns(&rows[1]), (text("s"), vec![], text("a"), text("b")));
    let earlier = vec![(text("a"), text("b"))];
    assert_eq!(turns(&rows[2]), (text(""), earlier, text("c"), text("d")));
    assert!(rows[2].provenance.restricted);
    // The earlier turns are part of what a row is.
    assert_eq!(rows[0].id, Instruction::content_id("a", "", "b"));
    assert_ne!(rows[1].id, rows[0].id);
    assert_ne!(rows[2].id, Instruction::content_id("c", "", "d"));
}

#[test]
fn chats_that_cannot_be_learned_whole_are_named() {
    let user = r#"{"role":"user","content":"a"}"#;
    let answer = r#"{"role":"assistant","content":"b"}"#;
    let by = |role: &str, rest: &str| format!("{user},{{\"role\":\"{role}\",{rest}}}");
    let cases = [
        (String::new(), "there is no answer to learn"),
        (user.to_owned(), "message 1, the last, is the user's: there is no answer to learn"),
        (answer.to_owned(), "message 1 is by the assistant, whose turn it is not"),
        (format!("{user},{user},{answer}"), "message 2 is by the user, whose turn it is not"),
        (
            format!("{user},{answer},{answer}"),
            "message 3 is by the assistant, whose turn it is not",
        ),
        (by("tool", r#""content":"x""#), "message 2: the speaker \"tool\" is not understood"),
        (by("assistant", r#""content":[1]"#), "message 2: `content` is an array, not a string"),
        (
            by("assistant", r#""content":"b","weight":0"#),
            "message 2: has a `weight` other than 1, and every answer of a chat is learned",
        ),
        (
            by("assistant", r#""content":"b","tool_calls":[1]"#),
            "message 2: has `tool_calls`, which are not understood",
        ),
        (by("assistant", r#""content":"\u0000""#), "message 2: `content` holds a NUL character"),
    ];
    let lines: Vec<String> =
        cases.iter().map(|(list, _)| format!("{{\"messages\":[{list}]}}\n")).collect();
    let found = read_rows_from(lines.concat().as_bytes(), "chats.jsonl").unwrap();
    let expected: Vec<(usize, &str, &str)> =
        cases.iter().enumerate().map(|(at, (_, reason))| (at + 1, "messages", *reason)).collect();
    assert_eq!(reasons(&found), expected);
    assert!(found.rows.is_empty());
}

#[test]
fn csv_with_all_its_traps() {
    let text = "\u{feff}instruction;input;output;category\r\n\
        \"quoted \"\"word\"\"; and\nline\";;yes;QA\r\n\
        5\" needle;x;bare quotation mark;\r\n\
        \r\n\
        too;few\r\n\
        a;b;c;qa;too many\r\n\
        nul \0;b;c;qa\r\n\
        ;no instruction is empty text;c;\r\n";
    let found = read_bytes("rows.csv", text.as_bytes()).unwrap();
    let rows: Vec<(usize, &str, &str)> = found
        .rows
        .iter()
        .map(|it| (it.line, it.row.instruction.as_str(), it.row.output.as_str()))
        .collect();
    let expected = [
        (2, "quoted \"word\"; and\nline", "yes"),
        (4, "5\" needle", "bare quotation mark"),
        (9, "", "c"),
    ];
    assert_eq!(rows, expected);
    assert_eq!(found.rows[0].row.category, Some(Category::Qa));
    let expected = [
        (6, "", "has 2 fields, the header has 4"),
        (7, "", "has 5 fields, the header has 4"),
        (8, "instruction", "holds a NUL character"),
    ];
    assert_eq!(reasons(&found), expected);
    // What follows an open quotation mark cannot be told from its text: that is said, not guessed.
    let found = read_bytes("x", b"instruction\toutput\na\tb\nc\t\"d\ne\tf\n").unwrap();
    assert_eq!(found.rows.len(), 1);
    let reason = "a quotation mark is not closed: the file is not read behind this line";
    assert_eq!(reasons(&found), [(3, "", reason)]);
}

#[test]
fn csv_with_missing_columns_is_refused_as_a_whole() {
    let error = read_bytes("rows.csv", b"question,answer\na,b\n").unwrap_err();
    assert!(error.to_string().contains("has the columns `question`, `answer`"), "{error}");
    let error =
        read_bytes("rows.csv.gz", &packed(Packing::Gzip, b"question,answer\n")).unwrap_err();
    assert!(matches!(error, RowsError::Columns { .. }), "{error}");
}

/// Packed by hand, since only rows are written otherwise.
fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
        Packing::Zstandard => {
            let level = ruzstd::encoding::CompressionLevel::Fastest;
            ruzstd::encoding::compress_to_vec(bytes, level)
        }
    }
}

const LINE: &[u8] = b"{\"instruction\":\"i\",\"output\":\"o\"}\n";

#[test]
fn packed_files_that_are_cut_off_or_packed_twice_are_refused() {
    for packing in [Packing::Gzip, Packing::Zstandard] {
        let whole = packed(packing, &LINE.repeat(500));
        assert_eq!(read_bytes("x", &whole).unwrap().rows.len(), 500);
        // Several members are one file.
        assert_eq!(read_bytes("x", &whole.repeat(2)).unwrap().rows.len(), 1000);
        for length in [whole.len() - 1, whole.len() - 5, whole.len() / 2, 12] {
            let error = read_bytes("x", &whole[..length]).unwrap_err();
            assert!(matches!(error, RowsError::Damaged { .. }), "{packing} {length}: {error}");
        }
        let error = read_bytes("x", &packed(packing, &whole)).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }
    // A frame of the user's own, as the format allows, is passed.
    let mut with_skipped = vec![0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    with_skipped.extend(packed(Packing::Zstandard, LINE));
    assert_eq!(read_bytes("x", &with_skipped).unwrap().rows.len(), 1);
}

#[test]
fn a_bomb_unpacks_to_one_bounded_row() {
    let size = 48 * ROW_LIMIT;
    let mut text = vec![b' '; size];
    text[0] = b'{';
    text.push(b'\n');
    text.extend(LINE);
    for packing in [Packing::Gzip, Packing::Zstandard] {
        let bomb = packed(packing, &text);
        assert!(bomb.len() < size / 100);
        let found = read_bytes("x.jsonl", &bomb).unwrap();
        assert_eq!(found.rows[0].line, 2);
        let reason = format!("has {size} bytes; a row may have {ROW_LIMIT}");
        assert_eq!(reasons(&found), [(1, "", reason.as_str())]);
    }
}

#[test]
fn parquet_that_is_broken_is_refused() {
    let rows: Vec<Instruction> = (0..50).map(|n| row(&format!("do {n}"), "", "ok")).collect();
    let whole = written(Format::named("parquet").unwrap(), None, &rows);
    let refused = |bytes: &[u8]| match read_bytes("rows.parquet", bytes) {
        Err(RowsError::Parquet { reason, .. }) => assert!(!reason.is_empty()),
        other => panic!("{other:?}"),
    };
    // A footer that is gone, cut, longer than the file, or no footer.
    refused(b"PAR1");
    refused(&whole[..whole.len() - 4]);
    let end = whole.len() - 8;
    let mut broken = whole.clone();
    broken[end..end + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused(&broken);
    let mut broken = whole.clone();
    broken[end - 200..end].fill(0xff);
    refused(&broken);
    // Pages that are none.
    let mut broken = whole.clone();
    broken[4..whole.len() / 2].fill(0);
    refused(&broken);
}

/// Files as pandas and Hugging Face's datasets write them; `tests/goldens/rows/make_parquet.py` made them.
#[test]
fn parquet_of_pyarrow_is_read() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/goldens/rows");
    let expected: Value =
        serde_json::from_slice(&fs_err::read(goldens.join("expected.json")).unwrap()).unwrap();

    let chats = read_rows(&goldens.join("chats_snappy.parquet")).unwrap();
    let reason = "message 1, the last, is the user's: there is no answer to learn";
    assert_eq!(reasons(&chats), [(3, "messages", reason)]);
    assert_eq!(chats.rows[0].row.category, Some(Category::Qa));
    for (found, chat) in chats.rows.iter().zip(expected["chats"].as_array().unwrap()) {
        let chat = chat.as_array().unwrap().iter();
        let mut said: Vec<&str> = chat.map(|turn| turn[1].as_str().unwrap()).collect();
        let mut texts: Vec<&str> = found.row.texts().filter(|text| !text.is_empty()).collect();
        said.sort_unstable();
        texts.sort_unstable();
        assert_eq!(texts, said);
    }
    let (last, before) = (&chats.rows[1].row, &chats.rows[1].row.history[0]);
    assert_eq!((&*last.system, &*before.user, &*last.output), ("Be brief.", "Größe?", "75 kg"));

    let rows = read_rows(&goldens.join("rows_gzip.parquet")).unwrap();
    assert_eq!(reasons(&rows), [(8, "output", "is missing")]);
    for found in &rows.rows {
        let row = &expected["rows"][found.line - 1];
        let text = |field: &str| row[field].as_str().unwrap_or_default();
        let (instruction, input, output) = (text("instruction"), text("input"), text("output"));
        assert_eq!(found.row.id, Instruction::content_id(instruction, input, output));
    }
    assert_eq!(rows.rows.len(), 39);

    let error = read_rows(&goldens.join("rows_zstd.parquet")).unwrap_err().to_string();
    assert!(error.contains("packed with ZSTD"), "{error}");
}
