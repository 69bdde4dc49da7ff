//! The built-in tasks on small files in their owners' formats, and on the owners' own files where they are at hand.

use std::path::Path;

use bioinstruct_core::diagnose::Diagnose;

use super::{ids, owners_file};
use crate::task::{Answer, ItemSources, Items, Profile, Task, TaskError, TaskPrompt};

fn count(task: &str, data: &Path, profile: Profile) -> Items {
    let sources = ItemSources { data: Some(data), profile, ..ItemSources::default() };
    Task::load(task).unwrap().items(&sources).unwrap()
}

#[test]
fn medqa_has_1273_questions() {
    let Some(path) = owners_file("medqa/phrases_no_exclude_test.jsonl") else {
        return;
    };
    let items = count("medqa", &path, Profile::LmEval);
    assert_eq!(items.items.len(), 1273);
    let mut right = [0; 4];
    for item in &items.items {
        let Answer::Choice(choice) = item.answer else { panic!("{}", item.id) };
        right[choice] += 1;
    }
    assert_eq!(right, [353, 309, 346, 265]);
}

#[test]
fn pubmedqa_has_500_official_and_1000_labelled_questions() {
    let Some(folder) = owners_file("pubmedqa") else {
        return;
    };
    let official = count("pubmedqa", &folder, Profile::LmEval);
    assert_eq!(official.items.len(), 500);
    let yes = official.items.iter().filter(|item| item.answer == Answer::Choice(0)).count();
    assert_eq!(yes, 276);
    assert_eq!(count("pubmedqa", &folder, Profile::Paper).items.len(), 1000);

    let sources = ItemSources { data: Some(&folder), shots: Some(3), ..ItemSources::default() };
    let items = Task::load("pubmedqa").unwrap().items(&sources).unwrap();
    let scored: Vec<&str> = ids(&items.items);
    assert_eq!(items.shots.len(), 3);
    assert!(items.shots.iter().all(|shot| !scored.contains(&shot.id.as_str())));

    let alone = tempfile::tempdir().unwrap();
    fs_err::copy(folder.join("ori_pqal.json"), alone.path().join("ori_pqal.json")).unwrap();
    let sources = ItemSources { data: Some(alone.path()), ..ItemSources::default() };
    let error = Task::load("pubmedqa").unwrap().items(&sources).unwrap_err();
    assert!(matches!(error, TaskError::Missing { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--profile paper"));
}

#[test]
fn conv2note_leaves_out_the_dialogue_that_also_stands_in_training() {
    let Some(path) = owners_file("mts-dialog/MTS-Dialog-TestSet-1-MEDIQA-Chat-2023.csv") else {
        return;
    };
    let items = count("conv2note", &path, Profile::Paper);
    assert_eq!(items.items.len(), 199);
    assert_eq!(items.excluded.len(), 1);
    assert_eq!(items.excluded[0].id, "106");
    assert!(items.excluded[0].reason.starts_with("stands in MTS-Dialog-TrainingSet.csv, line "));
    assert_eq!(items.shots.len(), 1);
    assert_eq!(items.items[1].fields["section"], "family and social history");
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    folder
}

fn default_items(task: &str, folder: &Path) -> Items {
    count(task, folder, Profile::Default)
}

fn shown(task: &str, items: &Items, position: usize) -> String {
    match Task::load(task).unwrap().prompt(Profile::Default, &items.items[position]).unwrap() {
        TaskPrompt::Instruction { instruction, input } => format!("{instruction}\n{input}"),
        TaskPrompt::Text(text) => text,
    }
}

fn answers(items: &Items) -> Vec<Answer> {
    items.items.iter().map(|item| item.answer.clone()).collect()
}

fn list(texts: &[&str]) -> Answer {
    Answer::List(texts.iter().map(|&text| text.to_owned()).collect())
}

#[test]
fn medmcqa_reads_its_labels_base_from_the_whole_file() {
    let row = |cop: usize| {
        format!(
            "{{\"id\":\"q{cop}\",\"question\":\"Why?\",\"exp\":null,\"cop\":{cop},\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\"}}\n"
        )
    };
    let file = |labels: &[usize]| {
        folder(&[("dev.json", &labels.iter().map(|&label| row(label)).collect::<String>())])
    };
    let read = |labels: &[usize]| {
        let folder = file(labels);
        let sources = ItemSources { data: Some(folder.path()), ..ItemSources::default() };
        Task::load("medmcqa").unwrap().items(&sources)
    };
    assert_eq!(answers(&read(&[1, 4, 2]).unwrap()), [0, 3, 1].map(Answer::Choice));
    assert_eq!(answers(&read(&[1, 3, 0]).unwrap()), [1, 3, 0].map(Answer::Choice));
    let ambiguous = read(&[1, 2, 3]).unwrap_err().to_string();
    assert!(ambiguous.contains("neither 0 nor 4 occurs in `cop`"), "{ambiguous}");
    let both = read(&[0, 4]).unwrap_err().to_string();
    assert!(both.contains("both 0 and 4 occur in `cop`"), "{both}");
    assert!(read(&[1, 4, 7]).unwrap_err().to_string().contains("7 is outside 1..=4"));
}

#[test]
fn bioasq_takes_the_yes_no_questions_with_their_snippets() {
    let file = r#"{"questions": [
        {"id": "b1", "type": "yesno", "body": "Is it?", "exact_answer": "yes", "snippets": [{"text": "One."}, {"text": "Two."}]},
        {"id": "b2", "type": "list", "body": "Which?", "exact_answer": [["a"]], "snippets": []},
        {"id": "b3", "type": "yesno", "body": "Was it?", "exact_answer": ["no"], "snippets": [{"text": "Three."}]}]}"#;
    let folder = folder(&[("7B_golden.json", file)]);
    let items = default_items("bioasq", folder.path());
    assert_eq!(ids(&items.items), ["b1", "b3"]);
    assert_eq!(answers(&items), [0, 1].map(Answer::Choice));
    assert!(shown("bioasq", &items, 0).ends_with("Text: One.\nTwo.\n\nQuestion: Is it?"));
}

#[test]
fn mednli_and_nli4ct_are_read_and_credentials_are_minded() {
    let pair = r#"{"gold_label":"neutral","pairID":"p1","sentence1":"BP 120/80.","sentence2":"He smokes.","sentence1_parse":"("}"#;
    let mednli = folder(&[("mli_test_v1.jsonl", pair)]);
    let items = default_items("mednli", mednli.path());
    assert_eq!(answers(&items), [Answer::Choice(2)]);
    assert!(shown("mednli", &items, 0).ends_with("Premise: BP 120/80.\nHypothesis: He smokes."));

    let statements = r#"{"u1": {"Type": "Comparison", "Section_id": "Eligibility", "Primary_id": "NCT1", "Secondary_id": "NCT2",
        "Statement": "Both take adults.", "Label": "Contradiction", "Primary_evidence_index": [0]}}"#;
    let trial = |line: &str| {
        format!("{{\"Clinical Trial ID\": \"x\", \"Eligibility\": [\"{line}\", \"  b\"]}}")
    };
    let nli4ct = folder(&[
        ("test.json", statements),
        ("CT json/NCT1.json", &trial("Adults")),
        ("CT json/NCT2.json", &trial("Children")),
    ]);
    let items = default_items("nli4ct", nli4ct.path());
    assert_eq!(answers(&items), [Answer::Choice(1)]);
    let prompt = shown("nli4ct", &items, 0);
    assert!(
        prompt.contains(
            "Primary trial, Eligibility:\nAdults\n  b\n\nSecondary trial, Eligibility:\nChildren"
        ),
        "{prompt}"
    );
    for name in ["mednli", "bioasq", "medication_status", "coreference", "icliniq"] {
        assert!(Task::load(name).unwrap().credentialed, "{name}");
    }
}

#[test]
fn the_snippets_of_clinical_ie_are_read() {
    let status = "index,snippet,active_medications,discontinued_medications,neither_medications\n\
                  0,\"Continue aspirin, stop heparin.\",\"[aspirin, vitamin D]\",[heparin],[]\n1,Well.,[],[],[]\n";
    let coreference = "index,snippet,pronoun,antecedent\n0,The knee hurts; it is swollen.,it,\"[the knee, knee]\"\n\
                       1,She has pain. It is dull.,It,pain\n";
    let folder =
        folder(&[("medication_status_test.csv", status), ("coreference_test.csv", coreference)]);
    let items = default_items("medication_status", folder.path());
    assert_eq!(
        answers(&items),
        [list(&["aspirin (active)", "vitamin D (active)", "heparin (discontinued)"]), list(&[])]
    );
    let task = Task::load("medication_status").unwrap();
    assert_eq!(task.shown_answer(&items.items[1]), "none");
    let items = default_items("coreference", folder.path());
    assert_eq!(answers(&items), [list(&["the knee", "knee"]), list(&["pain"])]);
    assert!(shown("coreference", &items, 0).starts_with("What does the word \"it\" stand for"));
}

#[test]
fn chemprot_is_a_choice_among_relations() {
    let rows = "index\tsentence\tlabel\nd1.T1.T2\t@CHEMICAL$ blocks \"the\" @GENE$.\tCPR:4\nd1.T1.T3\tNo.\tfalse\n";
    let folder = folder(&[("test.tsv", rows)]);
    let items = default_items("chemprot", folder.path());
    assert_eq!(answers(&items), [1, 5].map(Answer::Choice));
    assert_eq!(items.items[0].fields["sentence"], "@CHEMICAL$ blocks \"the\" @GENE$.");
    let continuations =
        Task::load("chemprot").unwrap().continuations(Profile::Default, &items.items[0]);
    assert_eq!(continuations.unwrap()[1], "inhibition");
}

#[test]
fn answers_and_questions_of_patients_are_read() {
    let icliniq = r#"[{"input": "Hello doctor, I cough.", "answer_icliniq": "Hi. Rest.", "answer_chatgpt": "x", "answer_chatdoctor": "y"}]"#;
    let meqsum = r#"{"File": "1.txt", "CHQ": "SUBJECT: cough\nMESSAGE: Why do I cough?", "Summary": "Why cough?"}"#;
    let five = r#"{"question": "Which?", "answer": "e", "options": {"A": "a", "B": "b", "C": "c", "D": "d", "E": "e"}, "answer_idx": "E"}"#;
    let folder =
        folder(&[("iCliniq.json", icliniq), ("meqsum.jsonl", meqsum), ("test.jsonl", five)]);
    let items = default_items("icliniq", folder.path());
    assert_eq!(answers(&items), [Answer::Text("Hi. Rest.".to_owned())]);
    let items = default_items("meqsum", folder.path());
    let task = Task::load("meqsum").unwrap();
    let text = task.prompt(Profile::LmEval, &items.items[0]).unwrap();
    assert_eq!(text, TaskPrompt::Text("Why do I cough?".to_owned()));
    let items = default_items("medqa_5opt", folder.path());
    assert_eq!(answers(&items), [Answer::Choice(4)]);
    assert!(shown("medqa_5opt", &items, 0).ends_with("D. d\nE. e"));
}

/// Items of each data set that is public.
#[test]
fn the_owners_files_have_the_published_numbers_of_items() {
    let cases = [
        ("medmcqa", "medmcqa", 4183),
        ("mmlu_anatomy", "mmlu", 135),
        ("mmlu_clinical_knowledge", "mmlu", 265),
        ("mmlu_college_biology", "mmlu", 144),
        ("mmlu_college_medicine", "mmlu", 173),
        ("mmlu_medical_genetics", "mmlu", 100),
        ("mmlu_professional_medicine", "mmlu", 272),
        ("bc5cdr", "ner/BC5CDR-IOB", 4797),
        ("ncbi_disease", "ner/NCBI-disease-IOB", 940),
        ("aci_bench", "aci-bench", 40),
        ("meqsum", "meqsum", 1000),
    ];
    for (task, place, expected) in cases {
        let Some(path) = owners_file(place) else { continue };
        let items = default_items(task, &path);
        assert_eq!(items.items.len() + items.excluded.len(), expected, "{task}");
        for item in &items.items {
            Task::load(task).unwrap().prompt(Profile::Default, item).unwrap();
        }
    }
}

#[test]
fn medmcqa_s_dev_file_counts_from_one() {
    let Some(path) = owners_file("medmcqa") else { return };
    let items = count("medmcqa", &path, Profile::LmEval);
    let mut right = [0; 4];
    for item in &items.items {
        let Answer::Choice(choice) = item.answer else { panic!("{}", item.id) };
        right[choice] += 1;
    }
    assert_eq!(right, [1348, 1085, 925, 825]);
}

#[test]
fn tagged_names_become_lists() {
    let Some(path) = owners_file("ner") else { return };
    let items = default_items("bc5cdr", &path.join("BC5CDR-IOB"));
    let named = |kind: &str| {
        let prefix = format!("{kind}: ");
        let texts = items.items.iter().flat_map(|item| match &item.answer {
            Answer::List(texts) => texts.clone(),
            _ => Vec::new(),
        });
        texts.filter(|text| text.starts_with(&prefix)).count()
    };
    // Fewer than the 5,385 and 4,424 mentions, since a name counts once in its sentence.
    assert_eq!((named("chemical"), named("disease")), (4935, 4271));
    // The collection's folder does as well as the data set's.
    let root = path.parent().unwrap();
    assert_eq!(default_items("ncbi_disease", root).items.len(), 940);
}
