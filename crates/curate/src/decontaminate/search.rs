//! The comparison of rows with items: [`Decontaminator`].

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bioinstruct_core::record::Instruction;
use bioinstruct_text::novelty::{NoveltyFilter, NoveltyRule, ThresholdOutOfRange, Winner};
use bioinstruct_text::vocabulary::Vocabulary;

use super::item::{asked_text, parts, words_of};
use super::runs::Runs;
use super::{Hit, TaskItems, TaskReport, TestItem, Verdict};
use crate::filter::Similarity;

/// Words of the short runs; shorter questions are looked for as a whole.
const SHORT_RUN: usize = 8;
const LONG_RUN: usize = 13;

/// Items in which a run may stand before it counts as a stock phrase.
const MOST_ITEMS: usize = 8;

/// F1 from which on a question is like a part of a row.
const ROUGE_L: f64 = 0.7;

/// Share of an item's weight in a row beside a run of 8 words of it, and beside a like question.
const COVERAGE_WITH_RUN: f64 = 0.5;
const COVERAGE_WITH_LIKENESS: f64 = 0.6;

/// A question by itself gives its item away when the row holds nearly all of its weight, and that is that of some rare words.
const COVERAGE_OF_QUESTION: f64 = 0.8;
const WEIGHT_OF_QUESTION: f64 = 25.0;

/// Items of any number of tasks, ready to be looked for in rows.
#[derive(Debug)]
pub struct Decontaminator {
    vocabulary: Vocabulary,
    items: Vec<Entry>,
    runs: Runs,
    tasks: Vec<TaskPool>,
    /// By a word's id: the logarithm of how many times more items there are than items with it.
    weights: Vec<f64>,
}

#[derive(Debug)]
struct TaskPool {
    name: String,
    /// Place of its first item among all.
    first_item: usize,
    items: usize,
    questions: NoveltyFilter,
}

#[derive(Debug)]
struct Entry {
    task: usize,
    id: String,
    question: Vec<u32>,
    options: Vec<Vec<u32>>,
    text: String,
    shown: bool,
}

/// What was seen of an item in a row before the second look.
#[derive(Debug, Default)]
struct Signs {
    runs_of_13: usize,
    runs_of_8: usize,
    rouge_l: Option<Similarity>,
    whole_question: bool,
}

impl Decontaminator {
    /// Prepares the items of some tasks.
    ///
    /// # Errors
    /// Never in practice: the threshold of ROUGE-L is fixed and in range.
    pub fn new(tasks: &[TaskItems]) -> Result<Self, ThresholdOutOfRange> {
        let mut new = Self {
            vocabulary: Vocabulary::new(),
            items: Vec::new(),
            runs: Runs::default(),
            tasks: Vec::new(),
            weights: Vec::new(),
        };
        for (at, task) in tasks.iter().enumerate() {
            let mut questions = NoveltyFilter::new(NoveltyRule::Below(ROUGE_L))?;
            let first_item = new.items.len();
            for item in &task.items {
                questions.add_pool(&words_of(&item.question).join(" "));
                new.add_item(at, item, task.shown);
            }
            let name = task.task.clone();
            new.tasks.push(TaskPool { name, first_item, items: task.items.len(), questions });
        }
        new.weigh_words();
        Ok(new)
    }

    fn add_item(&mut self, task: usize, item: &TestItem, shown: bool) {
        let mut numbered = |text: &str| -> Vec<u32> {
            words_of(text).iter().map(|word| self.vocabulary.add(word)).collect()
        };
        let question = numbered(&item.question);
        let options: Vec<Vec<u32>> = item.options.iter().map(|text| numbered(text)).collect();
        let context = numbered(&item.context);
        let place = self.items.len();
        let mut text = item.question.clone();
        for option in &item.options {
            text.push('\n');
            text.push_str(option);
        }
        let whole: Vec<u32> = question.iter().chain(options.iter().flatten()).copied().collect();
        for length in [SHORT_RUN, LONG_RUN] {
            self.runs.insert_all(&whole, length, place);
            self.runs.insert_all(&context, length, place);
        }
        if (1..SHORT_RUN).contains(&question.len()) {
            self.runs.insert(&question, place);
        }
        let text = if shown { text } else { String::new() };
        self.items.push(Entry { task, id: item.id.clone(), question, options, text, shown });
    }

    fn weigh_words(&mut self) {
        let mut items_with = vec![0_usize; self.vocabulary.len()];
        for item in &self.items {
            let words: BTreeSet<u32> = item.words().collect();
            for word in words {
                items_with[word as usize] += 1;
            }
        }
        let all = self.items.len() as f64 + 1.0;
        self.weights = items_with.into_iter().map(|with| (all / with.max(1) as f64).ln()).collect();
    }

    /// All tasks, with nothing found yet.
    pub(super) fn tasks(&self) -> BTreeMap<String, TaskReport> {
        let empty = |task: &TaskPool| TaskReport { items: task.items, ..TaskReport::default() };
        self.tasks.iter().map(|task| (task.name.clone(), empty(task))).collect()
    }

    /// What `row` shares with items, by item.
    pub fn hits(&self, row: &Instruction) -> Vec<Hit> {
        let known = |text: &str| -> Vec<u32> {
            words_of(text).iter().map(|word| self.vocabulary.lookup(word)).collect()
        };
        let asked = known(&asked_text(row));
        let answered = known(&row.output);
        let mut signs: BTreeMap<usize, Signs> = BTreeMap::new();
        for words in [&asked, &answered] {
            self.find_runs(words, &mut signs);
        }
        self.find_like_questions(row, &mut signs);
        if signs.is_empty() {
            return Vec::new();
        }
        let held: HashSet<u32> = asked.iter().chain(&answered).copied().collect();
        signs
            .into_iter()
            .filter_map(|(item, signs)| {
                self.second_look(row, item, signs, &held, [&asked, &answered])
            })
            .collect()
    }

    fn find_runs(&self, words: &[u32], signs: &mut BTreeMap<usize, Signs>) {
        for items in self.runs.find(words, LONG_RUN, MOST_ITEMS) {
            for &item in items {
                signs.entry(item as usize).or_default().runs_of_13 += 1;
            }
        }
        for items in self.runs.find(words, SHORT_RUN, MOST_ITEMS) {
            for &item in items {
                signs.entry(item as usize).or_default().runs_of_8 += 1;
            }
        }
        for length in 1..SHORT_RUN {
            for &item in self.runs.find(words, length, usize::MAX).flatten() {
                signs.entry(item as usize).or_default().whole_question = true;
            }
        }
    }

    fn find_like_questions(&self, row: &Instruction, signs: &mut BTreeMap<usize, Signs>) {
        let both = format!("{} {}", row.instruction, row.input);
        let mut texts: BTreeSet<String> = BTreeSet::new();
        let before = row.history.iter().flat_map(|turn| parts(&turn.user));
        let now = parts(&row.instruction).into_iter().chain(parts(&row.input));
        for part in now.chain([both.as_str()]).chain(before) {
            texts.insert(words_of(part).join(" "));
        }
        for (task, text) in
            self.tasks.iter().flat_map(|task| texts.iter().map(move |text| (task, text)))
        {
            let bioinstruct_text::novelty::Verdict::Rejected(evidence) = task.questions.judge(text)
            else {
                continue;
            };
            let (Winner::Pool(at) | Winner::Kept(at)) = evidence.winner;
            let signs = signs.entry(task.first_item + at).or_default();
            if signs.rouge_l.is_none_or(|known| evidence.f1 > known.f) {
                signs.rouge_l = Some(Similarity {
                    f: evidence.f1,
                    lcs: evidence.lcs,
                    m: evidence.candidate_tokens,
                    n: evidence.winner_tokens,
                });
            }
        }
    }

    fn second_look(
        &self,
        row: &Instruction,
        item: usize,
        signs: Signs,
        held: &HashSet<u32>,
        texts: [&[u32]; 2],
    ) -> Option<Hit> {
        let entry = &self.items[item];
        let contains = |run: &[u32]| {
            !run.is_empty()
                && texts.iter().any(|text| text.windows(run.len()).any(|window| window == run))
        };
        let options = entry.options.iter().filter(|option| contains(option)).count();
        let (coverage, _) = self.coverage(entry.words(), held);
        let (of_question, weight) = self.coverage(entry.question.iter().copied(), held);
        let gives_question = of_question >= COVERAGE_OF_QUESTION && weight >= WEIGHT_OF_QUESTION;
        let is_short = entry.options.is_empty() && entry.question.len() < SHORT_RUN;
        let enough = if is_short { COVERAGE_OF_QUESTION } else { COVERAGE_WITH_LIKENESS };
        let has_half_of_options = !entry.options.is_empty() && 2 * options >= entry.options.len();
        let is_contaminated = signs.runs_of_13 > 0
            || signs.runs_of_8 > 0 && coverage >= COVERAGE_WITH_RUN
            || signs.rouge_l.is_some() && (coverage >= enough || gives_question)
            || signs.whole_question && (has_half_of_options || gives_question);
        let is_suspect =
            signs.runs_of_8 > 0 || signs.rouge_l.is_some_and(|likeness| likeness.f >= 1.0);
        let verdict = match (is_contaminated, is_suspect) {
            (true, _) => Verdict::Contaminated,
            (false, true) => Verdict::Suspected,
            (false, false) => return None,
        };
        Some(Hit {
            task: self.tasks[entry.task].name.clone(),
            item: entry.id.clone(),
            row: row.id.clone(),
            verdict,
            runs_of_13: signs.runs_of_13,
            runs_of_8: signs.runs_of_8,
            rouge_l: signs.rouge_l,
            whole_question: signs.whole_question,
            options,
            coverage,
            item_text: entry.text.clone(),
            row_text: if entry.shown {
                format!("{}\n{}", row.instruction, row.input).trim_end().to_owned()
            } else {
                String::new()
            },
        })
    }

    /// Share of the weight of `words` that is held, and the whole weight; a word counts once, however often it stands there.
    fn coverage(&self, words: impl Iterator<Item = u32>, held: &HashSet<u32>) -> (f64, f64) {
        let (mut found, mut all) = (0.0, 0.0);
        for word in words.collect::<BTreeSet<u32>>() {
            let weight = self.weights[word as usize];
            all += weight;
            found += if held.contains(&word) { weight } else { 0.0 };
        }
        (if all > 0.0 { found / all } else { 0.0 }, all)
    }
}

impl Entry {
    fn words(&self) -> impl Iterator<Item = u32> {
        self.question.iter().chain(self.options.iter().flatten()).copied()
    }
}
