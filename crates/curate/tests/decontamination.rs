//! Decontamination: what is found of an item in a row, and what is left alone.

#![expect(clippy::unwrap_used, reason = "a test may stop here")]

use bioinstruct_core::record::{Instruction, Provenance};
use bioinstruct_curate::decontaminate::hashed::HashedItems;
use bioinstruct_curate::decontaminate::{Decontaminator, Report, TaskItems, TestItem, Verdict};

fn row(instruction: &str, input: &str) -> Instruction {
    let texts = [instruction, input, "See the options."].map(str::to_owned);
    let [instruction, input, output] = texts;
    Instruction::new(instruction, input, output, None, Provenance::default())
}

fn item(id: &str, question: &str, options: &[&str]) -> TestItem {
    TestItem {
        id: id.to_owned(),
        question: question.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        context: String::new(),
    }
}

/// Enough items for words to weigh differently: forty drugs asked after with one stem.
fn tasks() -> Vec<TaskItems> {
    let mut items = vec![
        item(
            "long",
            "A 45-year-old gardener has a painless ulcer on her left thumb two weeks after pruning roses; what is the cause?",
            &[
                "Sporothrix schenckii",
                "Bartonella henselae",
                "Nocardia asteroides",
                "Leishmania major",
            ],
        ),
        item(
            "short",
            "Bruxism is:",
            &["Grinding of teeth", "Dry mouth", "Loss of taste", "Pain of the tongue"],
        ),
    ];
    for number in 0..40 {
        let question = format!("Which of the following is true about drug{number}?");
        let options = [0, 1, 2, 3]
            .map(|option| format!("It binds receptor{} in organ{option}", number + option));
        items.push(item(
            &format!("stem-{number}"),
            &question,
            &options.each_ref().map(String::as_str),
        ));
    }
    vec![
        TaskItems { task: "exam".to_owned(), shown: true, items },
        TaskItems {
            task: "restricted".to_owned(),
            shown: false,
            items: vec![TestItem {
                context: "Patient was transferred to the unit with hypotension, lactate 6.1 and a distended abdomen.".to_owned(),
                ..item("note", "Is the patient stable now?", &[])
            }],
        },
    ]
}

fn report(rows: &[Instruction]) -> Report {
    Decontaminator::new(&tasks()).unwrap().report(rows)
}

/// (item, verdict) of a single row.
fn found(instruction: &str, input: &str) -> Vec<(String, Verdict)> {
    let report = report(&[row(instruction, input)]);
    report.hits.into_iter().map(|hit| (hit.item, hit.verdict)).collect()
}

fn contaminated(item: &str) -> Vec<(String, Verdict)> {
    vec![(item.to_owned(), Verdict::Contaminated)]
}

#[test]
fn items_are_found_whole_edited_and_reordered() {
    let stem = "Which of the following is true about drug7?";
    let options = [
        "It binds receptor7 in organ0",
        "It binds receptor8 in organ1",
        "It binds receptor9 in organ2",
        "It binds receptor10 in organ3",
    ];
    let lettered = |order: [usize; 4]| {
        let [a, b, c, d] = order.map(|at| options[at]);
        format!("\nA. {a}\nB. {b}\nC. {c}\nD. {d}")
    };
    let input = |question: &str, order| format!("{question}{}", lettered(order));
    for (question, order) in [
        (stem, [0, 1, 2, 3]),
        (stem, [2, 3, 1, 0]),
        ("WHICH of the following, is TRUE about drug7!", [0, 1, 2, 3]),
        ("Which of the following is certainly true about drug7?", [0, 1, 2, 3]),
        ("Which of the following is true about drug?", [0, 1, 2, 3]),
    ] {
        let found = found("Answer with a letter.", &input(question, order));
        assert!(found.contains(&contaminated("stem-7")[0]), "{question} {order:?}: {found:?}");
    }
    assert_eq!(
        found(
            "Bruxism is: A) Dry mouth B) Pain of the tongue C) Grinding of teeth D) Loss of taste",
            ""
        ),
        contaminated("short")
    );
    let gardener = "A 44-year-old gardener has a painless ulcer on her left thumb two weeks after pruning roses. Why?";
    assert_eq!(found("Explain the case.", gardener), contaminated("long"));
}

#[test]
fn a_stem_with_another_subject_is_another_question() {
    assert_eq!(found("Which of the following is true about vitamins?", ""), []);
    assert_eq!(
        found("Explain what bruxism is.", "Bruxism is a habit that wears the enamel down."),
        []
    );
    assert_eq!(found("Name the drug.", "Aspirin was given."), []);
}

#[test]
fn the_report_names_items_and_hides_restricted_texts() {
    let rows = [
        row("Name the drug.", "Aspirin was given."),
        row(
            "Summarize.",
            "The patient was transferred to the unit with hypotension, lactate 6.1 and a distended abdomen.",
        ),
    ];
    let report = report(&rows);
    assert_eq!((report.rows, report.hits.len()), (2, 1));
    let hit = &report.hits[0];
    assert_eq!(
        (hit.task.as_str(), hit.item.as_str(), hit.item_text.as_str()),
        ("restricted", "note", "")
    );
    assert!(report.tasks["restricted"].contaminated.contains("note"));
    assert_eq!((report.tasks["exam"].items, report.tasks["exam"].contaminated.len()), (42, 0));
    assert!(report.contaminated_rows().contains(rows[1].id.as_str()));
}

#[test]
fn hashed_items_are_found_without_their_texts() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("exam.jsonl");
    let mut bytes = Vec::new();
    HashedItems::of(&tasks()[0], "salt").write(&mut bytes).unwrap();
    fs_err::write(&path, &bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(!text.contains("gardener") && !text.contains("ruxism"));
    let read = HashedItems::read(&path).unwrap();
    assert_eq!(read, HashedItems::of(&tasks()[0], "salt"));
    let rows = [
        row("Explain.", "gardener has a painless ulcer on her left thumb"),
        row(
            "Bruxism is",
            "A. Dry mouth\nB. Grinding of teeth\nC. Loss of taste\nD. Pain of the tongue",
        ),
        row("Explain.", "Gardeners have painless ulcers on their thumbs two weeks after pruning."),
    ];
    let hits: Vec<_> =
        read.hits(&rows).into_iter().map(|hit| (hit.item, hit.row, hit.runs, hit.whole)).collect();
    let expected = [
        ("long".to_owned(), rows[0].id.clone(), 1, false),
        ("short".to_owned(), rows[1].id.clone(), 0, true),
    ];
    assert_eq!(hits[0], expected[0]);
    assert_eq!((&hits[1].0, &hits[1].1, hits[1].3), (&expected[1].0, &expected[1].1, true));
    assert_eq!(hits.len(), 2);
    fs_err::write(&path, "{\"format\": \"other\"}\n").unwrap();
    assert!(HashedItems::read(&path).is_err());
}
