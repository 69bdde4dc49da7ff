//! The novelty filter against the greedy loop that it stands for: as `rouge_score` decided it, and by brute force.

use bioinstruct_text::novelty::{
    Evidence, NoveltyFilter, NoveltyRule, Verdict, Winner, against_all,
};
use bioinstruct_text::rouge::{Stemmer, rouge_l, tokenize};
use proptest::prelude::*;
use serde_json::Value;

use crate::golden_rows;

/// Runs `rule` over the golden rows and checks each verdict, winner and score.
fn check_golden(name: &str, rule: NoveltyRule) {
    let rows = golden_rows("novelty_decisions.jsonl");
    let text = |row: &Value| row["text"].as_str().unwrap().to_owned();
    let (seeds, candidates): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["seed"] == true);
    let mut filter = NoveltyFilter::new(rule).unwrap();
    for seed in &seeds {
        filter.add_pool(&text(seed));
    }
    let texts: Vec<String> = candidates.iter().map(|row| text(row)).collect();
    let together = filter.clone().admit_all(&texts);
    let mut kept_lines = Vec::new();
    let mut rejected = 0;
    for (i, row) in candidates.iter().enumerate() {
        let expected = &row[name];
        let verdict = filter.admit(&texts[i]);
        assert_eq!(verdict, together[i], "line {}", seeds.len() + i + 1);
        match verdict {
            Verdict::Kept => {
                assert_eq!(expected["kept"], true, "{name}: {}", texts[i]);
                kept_lines.push(seeds.len() + i);
            }
            Verdict::Rejected(Evidence { winner, f1, .. }) => {
                let line = match winner {
                    Winner::Pool(index) => index,
                    Winner::Kept(index) => kept_lines[index],
                };
                assert_eq!(expected["kept"], false, "{name}: {}", texts[i]);
                assert_eq!(expected["winner"].as_u64(), Some(line as u64), "{name}: {}", texts[i]);
                assert_eq!(expected["f"], format!("{f1:?}"), "{name}: {}", texts[i]);
                rejected += 1;
            }
        }
    }
    assert_eq!(candidates.len(), 400);
    assert!(rejected > 100, "only {rejected} rejected");
}

#[test]
fn decisions_equal_alpacas_loop() {
    check_golden("alpaca", NoveltyRule::ALPACA);
}

#[test]
fn decisions_equal_the_papers_rule() {
    check_golden("paper", NoveltyRule::PAPER);
}

/// The greedy loop with every score computed.
fn brute_force(rule: NoveltyRule, pool: &[String], texts: &[String]) -> Vec<Verdict> {
    let mut earlier: Vec<(Winner, Vec<String>)> = Vec::new();
    for (index, text) in pool.iter().enumerate() {
        earlier.push((Winner::Pool(index), tokenize(text, Stemmer::Off)));
    }
    let mut kept_count = 0;
    let mut verdicts = Vec::new();
    for text in texts {
        let tokens = tokenize(text, Stemmer::Off);
        let mut best: Option<Evidence> = None;
        for (winner, other) in &earlier {
            let score = rouge_l(&tokens, other);
            if best.is_none_or(|best| score.f1 > best.f1) {
                best = Some(Evidence {
                    winner: *winner,
                    f1: score.f1,
                    lcs: (score.recall * tokens.len() as f64).round() as usize,
                    candidate_tokens: tokens.len(),
                    winner_tokens: other.len(),
                });
            }
        }
        if let Some(evidence) = best.filter(|best| !rule.keeps(best.f1)) {
            verdicts.push(Verdict::Rejected(evidence));
        } else {
            earlier.push((Winner::Kept(kept_count), tokens));
            kept_count += 1;
            verdicts.push(Verdict::Kept);
        }
    }
    verdicts
}

/// Texts over few words, so that near copies and ties abound; some long enough for several machine words.
fn texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    let length = prop_oneof![8 => 0_usize..14, 2 => 14_usize..40, 1 => 60_usize..140];
    let word = |kinds: u32| (0..kinds).prop_map(|word| format!("w{word}"));
    let text = (length, prop_oneof![1_u32..3, 3_u32..10, 10_u32..40]).prop_flat_map(
        move |(length, kinds)| prop::collection::vec(word(kinds), length).prop_map(|w| w.join(" ")),
    );
    prop::collection::vec(text, 0..most)
}

fn rule() -> impl Strategy<Value = NoveltyRule> {
    let threshold = prop_oneof![4 => Just(0.7), 1 => Just(0.5), 1 => Just(1.0), 2 => 0.05..1.0_f64];
    (threshold, any::<bool>()).prop_map(|(threshold, below)| {
        if below { NoveltyRule::Below(threshold) } else { NoveltyRule::AtMost(threshold) }
    })
}

proptest! {
    #[test]
    fn verdicts_equal_brute_force(rule in rule(), pool in texts(10), texts in texts(50)) {
        let mut filter = NoveltyFilter::new(rule).unwrap();
        for text in &pool {
            filter.add_pool(text);
        }
        let together = filter.clone().admit_all(&texts);
        let one_by_one: Vec<_> = texts.iter().map(|text| filter.admit(text)).collect();
        let expected = brute_force(rule, &pool, &texts);
        prop_assert_eq!(&one_by_one, &expected);
        prop_assert_eq!(&together, &expected);
    }
}

/// For each text the other one with the highest F1, every pair scored; of equals the earlier.
fn brute_force_against_all(rule: NoveltyRule, texts: &[String]) -> Vec<Verdict> {
    let tokens: Vec<Vec<String>> = texts.iter().map(|text| tokenize(text, Stemmer::Off)).collect();
    let verdict = |at: usize| {
        let mut best: Option<Evidence> = None;
        for other in (0..texts.len()).filter(|&other| other != at) {
            let score = rouge_l(&tokens[at], &tokens[other]);
            if best.is_none_or(|best| score.f1 > best.f1) {
                best = Some(Evidence {
                    winner: Winner::Pool(other),
                    f1: score.f1,
                    lcs: (score.recall * tokens[at].len() as f64).round() as usize,
                    candidate_tokens: tokens[at].len(),
                    winner_tokens: tokens[other].len(),
                });
            }
        }
        best.filter(|best| !rule.keeps(best.f1)).map_or(Verdict::Kept, Verdict::Rejected)
    };
    (0..texts.len()).map(verdict).collect()
}

proptest! {
    #[test]
    fn both_of_two_alike_go_as_by_brute_force(rule in rule(), texts in texts(50)) {
        let expected = brute_force_against_all(rule, &texts);
        prop_assert_eq!(against_all(rule, &texts).unwrap(), expected);
    }
}

/// More texts than one block of the batch holds, on one thread and on three.
#[test]
fn batches_decide_as_one_by_one_for_any_number_of_threads() {
    let mut state = 1_u32;
    let mut draw = |bound: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % bound
    };
    let text = |draw: &mut dyn FnMut(u32) -> u32| {
        let words = 4 + draw(8);
        (0..words).map(|_| format!("w{}", draw(14))).collect::<Vec<_>>().join(" ")
    };
    let texts: Vec<String> = (0..3500).map(|_| text(&mut draw)).collect();
    let mut filter = NoveltyFilter::new(NoveltyRule::PAPER).unwrap();
    let expected: Vec<_> = texts.iter().map(|text| filter.admit(text)).collect();
    assert!(filter.kept_count() > 1024 && filter.kept_count() < 3300, "{}", filter.kept_count());
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut filter = NoveltyFilter::new(NoveltyRule::PAPER).unwrap();
        assert_eq!(pool.install(|| filter.admit_all(&texts)), expected, "{threads} threads");
    }
}
