//! What raters said of a sample of the rows: [`ReviewView`].

use bioinstruct_curate::review::{QUESTIONS, QuestionReport, Review, Share};
use serde::Serialize;

use super::number;
use super::plot::bar::bar;

/// One question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct QuestionLine {
    /// What was asked.
    pub about: String,
    /// Rows by answer.
    pub answers: String,
    /// Share of the rows with the answer that one would wish for; empty where there is none.
    pub share: String,
    /// Its interval.
    pub interval: String,
    /// The drawing.
    pub bar: String,
    /// How far the raters agree.
    pub agreement: String,
}

/// The review of one run's dataset; without lines when there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct ReviewView {
    /// Who judged how many rows.
    pub sentence: String,
    /// In the order of the sheet.
    pub lines: Vec<QuestionLine>,
    /// What the categories in the files are worth, and what is not known of the raters.
    pub note: String,
}

/// Reads `review/review.json`.
pub(super) fn view(review: &Review) -> ReviewView {
    let asked = QUESTIONS.iter().filter_map(|question| review.questions.get(question.column));
    let all_right = review.all_right.map(|share| QuestionLine {
        about: "task valid, input fits and output right, all three".to_owned(),
        ..shared(share)
    });
    let raters = match review.raters.len() {
        1 => "one rater".to_owned(),
        several => format!("{} raters", number::count(several as u64)),
    };
    ReviewView {
        sentence: format!(
            "Of {} rows, {} were judged by {raters}: {}.",
            number::count(review.dataset_rows as u64),
            number::count(review.rows as u64),
            review.raters.join(", "),
        ),
        lines: asked.map(line).chain(all_right).collect(),
        note: note(review),
    }
}

fn line(question: &QuestionReport) -> QuestionLine {
    let mut answers: Vec<(&str, usize)> =
        question.answers.iter().map(|(answer, &rows)| (answer.as_str(), rows)).collect();
    answers.sort_by_key(|&(_, rows)| std::cmp::Reverse(rows));
    let mut parts: Vec<String> = answers
        .into_iter()
        .map(|(answer, rows)| format!("{answer} {}", number::count(rows as u64)))
        .collect();
    if question.undecided > 0 {
        parts.push(format!("undecided {}", number::count(question.undecided as u64)));
    }
    QuestionLine {
        about: question.about.clone(),
        answers: parts.join(", "),
        agreement: question.alpha.map_or_else(String::new, |alpha| number::fixed(alpha, 2)),
        ..question.good.map_or_else(unshared, shared)
    }
}

fn unshared() -> QuestionLine {
    let empty = String::new;
    QuestionLine {
        about: empty(),
        answers: empty(),
        share: empty(),
        interval: empty(),
        bar: empty(),
        agreement: empty(),
    }
}

fn shared(share: Share) -> QuestionLine {
    let percent = |part: f64| number::percent(part, 1.0);
    QuestionLine {
        share: percent(share.share),
        interval: format!("{} to {}", percent(share.low), percent(share.high)),
        bar: bar(share.share, None, "kept"),
        ..unshared()
    }
}

fn note(review: &Review) -> String {
    let mut note = "Shares are of the rows with a decided answer that have the answer one would wish for, with Wilson’s 95\u{a0}% \
                    interval; agreement is Krippendorff’s α over all raters."
        .to_owned();
    if let Some(pair) = &review.category {
        note += &format!(
            " The raters’ kind of instruction is that of the files in {} of {} rows{}.",
            number::percent(pair.accuracy, 1.0),
            number::count(pair.rows as u64),
            pair.kappa.map_or_else(String::new, |kappa| format!(
                " (Cohen’s κ {})",
                number::fixed(kappa, 2)
            )),
        );
    }
    note + " Nothing is known of what qualifies the raters."
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::{Category, Instruction, Provenance};
    use bioinstruct_curate::review::Rating;

    use super::*;

    #[test]
    fn a_review_of_known_answers() {
        let row = |text: &str| {
            let text = || text.to_owned();
            Instruction::new(text(), text(), text(), Some(Category::Qa), Provenance::default())
        };
        let rows = [row("a"), row("b")];
        let rating = |rater: &str, row: &Instruction, right: &'static str| Rating {
            id: row.id.clone(),
            rater: rater.to_owned(),
            answers: [("output_correct", right), ("category", "qa")].into(),
        };
        let ratings = [
            rating("first", &rows[0], "yes"),
            rating("second", &rows[0], "yes"),
            rating("first", &rows[1], "no"),
            rating("second", &rows[1], "yes"),
        ];
        let view = view(&Review::of(&rows, &ratings));
        assert_eq!(view.sentence, "Of 2 rows, 2 were judged by 2 raters: first, second.");
        let right = view.lines.iter().find(|line| line.about.starts_with("the output is")).unwrap();
        assert_eq!(right.answers, "yes 1, undecided 1");
        assert_eq!(right.share, "100.0\u{a0}%");
        assert!(view.note.contains("in 100.0\u{a0}% of 2 rows"), "{}", view.note);
    }
}
