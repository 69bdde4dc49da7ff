//! What is asked, scored and compared, and the form in which it is published.

use std::collections::BTreeMap;

use crate::scripted::{
    Scripted, base_and_tuned, candidate, input, limited, lines, opinions, prompt_text, run, stage,
};
use bioinstruct_core::model::ChatRequest;
use bioinstruct_data::task::{Answer, ItemSources, Profile, TaskItem};
use bioinstruct_eval::compare::Test;
use bioinstruct_eval::score::Score;
use bioinstruct_eval::{Scores, rebuild};
use serde_json::{Value, json};

fn row<'a>(scores: &'a Scores, candidate: &str, metric: &str) -> &'a Score {
    let found = scores.rows.iter().find(|row| row.candidate == candidate && row.metric == metric);
    found.unwrap_or_else(|| panic!("no {metric} of {candidate}"))
}

#[test]
fn multiple_choice_is_scored_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_qa", 12);
    let mut model = Scripted::scoring(opinions(&task));
    let scores = run(&stage, &mut model, &base_and_tuned(), std::slice::from_ref(&task)).unwrap();

    let rows = lines(&stage, "tuned/demo_qa@default-0shot.jsonl");
    assert_eq!(rows.len(), 12);
    assert_eq!(rows[0]["id"], "demo-qa-01");
    assert_eq!(rows[0]["target"], task.items.items[0].answer_text());
    assert_eq!(rows[0]["correct"], true);
    assert_eq!(rows[1]["correct"], false);
    assert_eq!(rows[0]["loglikelihoods"].as_array().unwrap().len(), 4);
    assert_eq!(rows[0]["prompt"].as_str().unwrap().len(), 16);
    let base = lines(&stage, "base/demo_qa@default-0shot.jsonl");
    assert_eq!((&base[0]["choice"], &base[0]["tie"]), (&json!("A"), &json!(true)));

    let right_is_a =
        task.items.items.iter().filter(|item| item.answer == Answer::Choice(0)).count();
    let accuracy = row(&scores, "tuned", "accuracy");
    assert_eq!((accuracy.n, accuracy.value), (12, 11.0 / 12.0));
    assert!(accuracy.ci_low < accuracy.value && accuracy.value < accuracy.ci_high);
    assert_eq!(accuracy.truncated, 1, "the one item whose id ends in 3");
    let accuracy = row(&scores, "base", "accuracy");
    let choices = accuracy.choices.as_ref().unwrap();
    assert_eq!(accuracy.value, right_is_a as f64 / 12.0);
    assert_eq!((choices.ties, choices.chance), (12, 0.25));
    assert_eq!(choices.choice_shares, BTreeMap::from([("A".to_owned(), 1.0)]));
    let most = choices.target_shares.values().copied().fold(0.0, f64::max);
    assert_eq!(choices.majority, most);
    assert_eq!(choices.target_shares[&choices.majority_choice], most);

    assert_eq!(scores.comparisons.len(), 1);
    let comparison = &scores.comparisons[0];
    assert_eq!((comparison.a.as_str(), comparison.b.as_str()), ("base", "tuned"));
    assert_eq!(comparison.test, Test::McnemarExact);
    assert!((comparison.delta - (11.0 - right_is_a as f64) / 12.0).abs() < 1e-15);
    assert!(!comparison.within_noise && comparison.p < 0.05);
    assert_eq!(comparison.b_better - comparison.a_better, 11 - right_is_a);

    let written: Vec<Score> =
        serde_json::from_slice(&fs_err::read(stage.path("scores.json")).unwrap()).unwrap();
    assert_eq!(written, scores.rows);
    assert_eq!(rebuild(stage.directory()).unwrap(), scores);
    for output in &scores.outputs {
        assert!(stage.path(output).is_file(), "{output}");
    }
}

#[test]
fn the_clean_subset_is_scored_beside_all_items() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_qa", 12);
    let mut model = Scripted::scoring(opinions(&task));
    run(&stage, &mut model, &base_and_tuned(), std::slice::from_ref(&task)).unwrap();
    // The tuned model is wrong on the second item only.
    let suspects = json!({"demo_qa": ["demo-qa-02", "demo-qa-05"], "medqa": []});
    fs_err::write(stage.path("contamination.json"), suspects.to_string()).unwrap();
    let scores = rebuild(stage.directory()).unwrap();
    let of_tuned: Vec<&Score> = scores
        .rows
        .iter()
        .filter(|row| row.candidate == "tuned" && row.metric == "accuracy")
        .collect();
    assert_eq!((of_tuned[0].subset.as_deref(), of_tuned[0].n), (None, 12));
    assert_eq!((of_tuned[1].subset.as_deref(), of_tuned[1].n), (Some("clean"), 10));
    assert_eq!((of_tuned[0].value, of_tuned[1].value), (11.0 / 12.0, 1.0));
    assert!(scores.outputs.contains(&"contamination.json".to_owned()));
    fs_err::write(stage.path("contamination.json"), "{").unwrap();
    assert!(rebuild(stage.directory()).unwrap_err().to_string().contains("contamination.json"));
}

#[test]
fn the_score_rows_have_the_published_fields() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_qa", 3);
    let mut model = Scripted::scoring(opinions(&task));
    run(&stage, &mut model, &base_and_tuned(), &[task]).unwrap();
    let rows: Vec<Value> =
        serde_json::from_slice(&fs_err::read(stage.path("scores.json")).unwrap()).unwrap();
    let names: Vec<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "model",
            "adapter",
            "candidate",
            "template",
            "task",
            "profile",
            "shots",
            "metric",
            "value",
            "n",
            "ci_low",
            "ci_high",
            "stderr",
            "truncated",
            "cut_off",
            "unparsed",
            "excluded",
            "credentialed",
            "signature",
            "chance",
            "majority",
            "majority_choice",
            "ties",
            "choice_shares",
            "target_shares"
        ]
    );
    assert_eq!(rows[0]["adapter"], Value::Null);
    assert_eq!(rows[1]["adapter"], "adapter");
    assert_eq!(rows[1]["model"], "scripted");
}

#[test]
fn lists_are_read_and_scored() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_ie", 3);
    let gold: Vec<String> = task.items.items.iter().map(TaskItem::answer_text).collect();
    let first = gold[0].lines().next().unwrap().to_owned();
    let all = gold.clone();
    let mut model = Scripted::writing(move |request: &ChatRequest| {
        let number: usize = request.id.rsplit('-').next().unwrap().parse().unwrap();
        Ok(match (request.adapter.is_some(), number) {
            (true, _) => format!("- {}\n", all[number - 1].to_uppercase().replace('\n', "\n- ")),
            (false, 1) => format!("{first}, something else..."),
            (false, 2) => " \n".to_owned(),
            (false, _) => "None.".to_owned(),
        })
    });
    let scores = run(&stage, &mut model, &base_and_tuned(), &[task]).unwrap();
    assert!(model.written.iter().all(|request| request.sampling.temperature == 0.0));
    assert_eq!(model.written[0].sampling.max_tokens, 64);
    assert_eq!(model.written[0].stop, ["\n###"]);

    for metric in ["span_precision", "span_recall", "span_f1", "span_f1_micro", "span_recall_micro"]
    {
        assert_eq!(row(&scores, "tuned", metric).value, 1.0, "{metric}");
    }
    let count = |text: &String| text.lines().count() as f64;
    let f1 = 2.0 * 1.0 / (2.0 + count(&gold[0]));
    let mean = row(&scores, "base", "span_f1");
    assert!((mean.value - f1 / 3.0).abs() < 1e-15);
    assert_eq!((mean.unparsed, mean.cut_off), (1, 1));
    let micro = row(&scores, "base", "span_recall_micro");
    assert!((micro.value - 1.0 / gold.iter().map(count).sum::<f64>()).abs() < 1e-15);
    assert_eq!(micro.stderr, None);

    let rows = lines(&stage, "base/demo_ie@default-0shot.jsonl");
    assert_eq!(rows[0]["parsed"].as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["counts"]["hits"], 1);
    assert!(rows[1].get("parsed").is_none());
    assert_eq!(rows[2]["parsed"], json!([]));
    assert_eq!(rows[2]["target"].as_array().unwrap().len(), gold[2].lines().count());
}

#[test]
fn texts_are_scored_by_rouge() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let task = limited("demo_gen", 4);
    let notes: Vec<String> = task.items.items.iter().map(TaskItem::answer_text).collect();
    let mut model = Scripted::writing(move |request: &ChatRequest| {
        let number: usize = request.id.rsplit('-').next().unwrap().parse().unwrap();
        let note = &notes[number - 1];
        let words: Vec<&str> = note.split(' ').collect();
        Ok(if request.adapter.is_some() {
            note.clone()
        } else {
            words[..words.len() / 2].join(" ")
        })
    });
    let scores = run(&stage, &mut model, &base_and_tuned(), &[task]).unwrap();
    assert_eq!(row(&scores, "tuned", "rougeL").value, 1.0);
    let half = row(&scores, "base", "rouge1");
    assert!(half.value > 0.5 && half.value < 0.8, "{}", half.value);
    assert!(half.signature.contains("no stemmer"));
    assert!(half.choices.is_none());
    let metrics: Vec<&str> =
        scores.comparisons.iter().map(|comparison| comparison.metric.as_str()).collect();
    assert_eq!(metrics, ["rouge1", "rouge2", "rougeL"]);
    // Four items cannot reach significance by signs: the least p is 2/16.
    assert_eq!(scores.comparisons[0].p, 0.125);
    assert!(scores.comparisons[0].within_noise && scores.comparisons[0].delta > 0.0);
}

#[test]
fn raw_text_is_asked_once_per_adapter_whatever_the_template() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let sources =
        ItemSources { profile: Profile::LmEval, limit: Some(2), ..ItemSources::default() };
    let candidates = [
        candidate("base", None, "bioinstruct"),
        candidate("base-chat", None, "chat"),
        candidate("tuned", Some("adapter"), "bioinstruct"),
    ];
    let tasks = [input("demo_qa", &sources), limited("demo_qa", 2)];
    let mut model = Scripted::scoring(opinions(&tasks[1]));
    let scores = run(&stage, &mut model, &candidates, &tasks).unwrap();
    let ran = |profile| {
        let rows = scores.rows.iter().filter(|row: &&Score| row.profile == profile);
        rows.map(|row| (row.candidate.as_str(), row.template.as_deref())).collect::<Vec<_>>()
    };
    assert_eq!(ran(Profile::LmEval), [("base", None), ("tuned", None)]);
    assert_eq!(
        ran(Profile::Default),
        [
            ("base", Some("bioinstruct")),
            ("base-chat", Some("chat")),
            ("tuned", Some("bioinstruct"))
        ]
    );
    let pairs: Vec<(&str, &str)> = scores
        .comparisons
        .iter()
        .filter(|comparison| comparison.profile == Profile::Default)
        .map(|comparison| (comparison.a.as_str(), comparison.b.as_str()))
        .collect();
    assert_eq!(pairs, [("base", "base-chat"), ("base", "tuned"), ("base-chat", "tuned")]);
}

#[test]
fn shots_stand_in_the_input_of_an_instruction() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path());
    let csv = |dialogue: &str, note: &str| {
        format!("ID,section_header,section_text,dialogue\n0,CC,{note},{dialogue}\n")
    };
    let test = "MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv";
    fs_err::write(folder.path().join(test), csv("Cough?", "Cough.")).unwrap();
    let training = csv("Fever?", "Fever.");
    fs_err::write(folder.path().join("MTS-Dialog-TrainingSet.csv"), training).unwrap();
    let sources = ItemSources {
        data: Some(folder.path()),
        profile: Profile::Paper,
        ..ItemSources::default()
    };
    let mut model = Scripted::writing(|_| Ok("Cough.".to_owned()));
    let candidates = [candidate("base", None, "bioinstruct")];
    let scores = run(&stage, &mut model, &candidates, &[input("conv2note", &sources)]).unwrap();
    assert_eq!(
        prompt_text(&model.written[0].prompt),
        "Example:\nSection: chief complaint\n\nConversation:\nFever?\n\nAnswer:\nFever.\n\n\
         Now this one:\nSection: chief complaint\n\nConversation:\nCough?"
    );
    assert_eq!((scores.rows[0].shots, scores.rows[0].profile), (1, Profile::Paper));
    assert!(stage.path("base/conv2note@paper-1shot.jsonl").is_file());
}
