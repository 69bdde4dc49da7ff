//! The request in a sentence: [`root`].

use super::VerbNoun;
use super::lexicon::{
    Form, is_auxiliary, is_boundary, is_determiner, is_modal, is_pronoun, is_question_word,
    opens_lead_in, verb_of,
};
use super::phrase::{is_sign, object};

/// Phrases before the request are looked past this often.
const MOST_STEPS: usize = 8;

/// The verb and object of an imperative or a question; nothing for a statement.
pub(super) fn root(sentence: &[&str], is_question: bool) -> Option<VerbNoun> {
    step(sentence, is_question, MOST_STEPS)
}

fn step(sentence: &[&str], is_question: bool, left: usize) -> Option<VerbNoun> {
    let words = skip_courtesy(sentence);
    let &first = words.first().filter(|_| left > 0)?;
    if opens_lead_in(first) {
        if words.get(1).is_some_and(|second| is_question_word(second)) && is_question {
            return question(&words[1..], true);
        }
        return after_lead_in(words, is_question, left);
    }
    if is_question_word(first) || is_auxiliary(first) {
        return question(words, false);
    }
    if first == "help" {
        let helped = words[1..].iter().position(|word| !["me", "us", "to"].contains(word))? + 1;
        if matches!(verb_of(words[helped]), Some((_, Form::Base))) {
            return step(&words[helped..], is_question, left - 1);
        }
    }
    imperative(words)
}

/// Past "please", adverbs, and the ways of saying "do" to somebody: "could you", "your task is to", "I want you to".
fn skip_courtesy<'a, 'w>(sentence: &'w [&'a str]) -> &'w [&'a str] {
    let mut words = sentence;
    loop {
        words = match words {
            [first, rest @ ..]
                if ["please", "kindly", "now", "first", "then", "and", "next"].contains(first)
                    || is_sign(first)
                    || first.ends_with("ly") && first.len() > 4 && verb_of(first).is_none() =>
            {
                rest
            }
            ["can" | "could" | "would" | "will", "you", rest @ ..] => rest,
            ["your" | "i" | "we" | "you", ..] => {
                let to = words.iter().take(8).position(|word| *word == "to");
                match to.filter(|to| words.get(to + 1).is_some_and(|word| verb_of(word).is_some()))
                {
                    Some(to) => &words[to + 1..],
                    None => return words,
                }
            }
            _ => return words,
        }
    }
}

/// Past "Given a note,": the request begins after one of the commas, or, without a comma, at a verb with an article.
fn after_lead_in(words: &[&str], is_question: bool, left: usize) -> Option<VerbNoun> {
    let commas = words.iter().enumerate().filter(|(_, word)| **word == ",");
    let after_comma = commas.map(|(at, _)| skip_courtesy(&words[at + 1..])).find_map(|rest| {
        let begins = match rest {
            [first, second, ..] if opens_lead_in(first) => is_question_word(second),
            [first, ..] if is_question_word(first) || is_question && is_auxiliary(first) => true,
            [first, rest @ ..] => {
                matches!(verb_of(first), Some((_, Form::Base)))
                    && !rest.first().is_none_or(|next| [",", "or", "of"].contains(next))
            }
            [] => false,
        };
        if begins { step(rest, is_question, left - 1) } else { None }
    });
    after_comma.or_else(|| {
        let at = (2..words.len().saturating_sub(1)).find(|&at| {
            matches!(verb_of(words[at]), Some((_, Form::Base)))
                && !is_determiner(words[at - 1])
                && is_determiner(words[at + 1])
        })?;
        imperative(&words[at..])
    })
}

/// A sentence that begins with its verb; a word that is not known is taken for one when an article follows.
fn imperative(words: &[&str]) -> Option<VerbNoun> {
    let (&first, rest) = words.split_first()?;
    let known = match verb_of(first) {
        Some((verb, Form::Base)) => Some(verb),
        _ => None,
    };
    let is_subject =
        rest.first().is_some_and(|next| ["is", "are", "was", "were", "of", "has"].contains(next));
    let verb = known.filter(|_| !is_subject).or_else(|| {
        let takes_article = rest.first().is_some_and(|next| {
            ["the", "a", "an", "this", "these", "each", "every", "all", "any", "your", "its"]
                .contains(next)
        });
        let may_be_verb = first.chars().all(char::is_alphabetic)
            && !is_boundary(first)
            && !is_determiner(first)
            && !is_pronoun(first);
        (takes_article && may_be_verb).then_some(first)
    })?;
    Some(VerbNoun { verb: verb.to_owned(), noun: object(rest) })
}

/// `fronted`: a preposition stands before the question word, so what the word asks for is no direct object.
fn question(words: &[&str], fronted: bool) -> Option<VerbNoun> {
    let without_noun = |verb: &str| Some(VerbNoun { verb: verb.to_owned(), noun: None });
    let auxiliary = words.iter().position(|word| is_auxiliary(word));
    if let Some(at) = finite_verb(words, auxiliary) {
        let (verb, _) = verb_of(words[at])?;
        return Some(VerbNoun { verb: verb.to_owned(), noun: object(&words[at + 1..]) });
    }
    let auxiliary = auxiliary?;
    let rest = &words[auxiliary + 1..];
    if ["is", "are", "was", "were"].contains(&words[auxiliary]) {
        return without_noun(passive_or_progressive(rest).unwrap_or("be"));
    }
    let has_subject = !is_modal(words[auxiliary])
        || rest.first().is_some_and(|word| is_determiner(word) || is_pronoun(word));
    let at = (usize::from(has_subject)..rest.len()).find(|&at| {
        let is_noun = at > 0 && is_determiner(rest[at - 1]);
        let form = verb_of(rest[at]).map(|(_, form)| form);
        let perfect = ["has", "have", "had"].contains(&words[auxiliary]);
        !is_noun && (form == Some(Form::Base) || perfect && form == Some(Form::Past))
    })?;
    let (verb, _) = verb_of(rest[at])?;
    if verb == "be" {
        let participle = rest.get(at + 1).and_then(|next| verb_of(next));
        let verb =
            participle.filter(|(_, form)| *form == Form::Past).map_or(verb, |(verb, _)| verb);
        return without_noun(verb);
    }
    let asked_for = || {
        let phrase = match words {
            ["what" | "which", ..] => &words[1..auxiliary],
            ["how", "many" | "much", ..] => &words[2..auxiliary],
            _ => &[],
        };
        (!fronted).then(|| object(phrase)).flatten()
    };
    let noun = object(&rest[at + 1..]);
    // "Which questions would you ask an adult …": what is asked for is the object before whoever gets it.
    let noun = if auxiliary > 1 { asked_for().or(noun) } else { noun };
    Some(VerbNoun { verb: verb.to_owned(), noun })
}

/// The place of a verb that needs no auxiliary: "what causes gout", "which vaccine contains …".
fn finite_verb(words: &[&str], auxiliary: Option<usize>) -> Option<usize> {
    let first = match words {
        ["what" | "who", ..] => 1,
        ["which" | "how", ..] => 2,
        _ => return None,
    };
    (first..auxiliary.unwrap_or(words.len())).find(|&at| {
        let follows = words.get(at + 1).copied();
        matches!(verb_of(words[at]), Some((_, Form::Third)))
            && !is_determiner(words[at - 1])
            && !follows.is_some_and(|next| is_auxiliary(next) || next == "of")
    })
}

/// The participle that ends "was the infusion stopped", or the gerund of "is she asking".
fn passive_or_progressive(rest: &[&str]) -> Option<&'static str> {
    let clause = rest.split(|word| is_sign(word)).next()?;
    let at = (0..clause.len()).find(|&at| {
        let form = verb_of(clause[at]).map(|(_, form)| form);
        let ends = clause.get(at + 1).is_none_or(|next| is_boundary(next));
        let is_modifier = at > 0 && is_determiner(clause[at - 1]);
        matches!(form, Some(Form::Past | Form::Gerund)) && ends && !is_modifier
    })?;
    verb_of(clause[at]).map(|(verb, _)| verb)
}

#[cfg(test)]
mod tests {
    use crate::verb_noun::extract;

    #[test]
    fn requests_are_found() {
        for (text, expected) in [
            ("Please list the drugs.", "list drug"),
            ("Given a list, report, or note, summarize the plan.", "summarize plan"),
            ("From the note below extract all doses", "extract dose"),
            ("A patient writes. Answer the message.", "answer message"),
            ("Could you briefly explain how it works?", "explain -"),
            ("Your task is to write a letter.", "write letter"),
            ("Help me identify the gene.", "identify gene"),
            ("Underscore the dates.", "underscore date"),
            ("Why was the drug stopped?", "stop -"),
            ("What causes gout?", "cause gout"),
            ("What is the recommended dose?", "be -"),
            ("Which drugs does the note mention?", "mention drug"),
            ("In which year did she stop smoking?", "stop smoking"),
            ("Can a child take aspirin?", "take aspirin"),
            ("How many patients must be treated?", "treat -"),
            ("Has the tumour spread?", "spread -"),
        ] {
            let found = extract(text).unwrap_or_else(|| panic!("nothing in {text}"));
            let noun = found.noun.as_deref().unwrap_or("-");
            assert_eq!(format!("{} {noun}", found.verb), expected, "{text}");
        }
        assert_eq!(extract("The patient is well."), None);
    }
}
