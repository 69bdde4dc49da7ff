//! Scores and stems against `rouge_score` 0.1.2 and NLTK, on the files that `make_rouge.py` wrote.

use bioinstruct_text::porter::stem;
use bioinstruct_text::rouge::{RougeKind, RougeScore, Stemmer, rouge};

use crate::{golden, golden_rows};

#[test]
fn scores_are_bit_equal_to_rouge_score() {
    let rows = golden_rows("rouge_pairs.jsonl");
    assert_eq!(rows.len(), 500);
    let mut compared = 0;
    for (line, row) in rows.iter().enumerate() {
        let text = |side: &str| row[side].as_str().unwrap();
        for (field, stemmer) in [("plain", Stemmer::Off), ("stemmed", Stemmer::Porter)] {
            for (name, expected) in row[field].as_object().unwrap() {
                let kind: RougeKind = name.parse().unwrap();
                let score = rouge(kind, text("target"), text("prediction"), stemmer);
                let expected = expected.as_str().unwrap();
                let numbers: Vec<f64> = expected.split(' ').map(|x| x.parse().unwrap()).collect();
                let [precision, recall, f1] = numbers[..] else { panic!("{expected}") };
                let expected = RougeScore { precision, recall, f1 };
                assert_eq!(score, expected, "line {} {field} {name}", line + 1);
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 500 * 2 * 5);
}

#[test]
fn stems_equal_those_of_nltk() {
    let table = golden("porter_words.tsv");
    assert!(table.lines().count() >= 2000);
    for line in table.lines() {
        let (word, expected) = line.split_once('\t').unwrap();
        assert_eq!(stem(word), expected, "{word}");
    }
}
