//! The noun of an object: [`object`].

use super::lexicon::{
    Form, is_boundary, is_determiner, is_particle, is_partitive, is_pronoun, looks_like_adjective,
    singular, verb_of,
};

/// The head of the noun phrase that follows a verb, in the singular; nothing when none follows, or a pronoun or a clause.
pub(super) fn object(after_verb: &[&str]) -> Option<String> {
    let words = skip_before_phrase(after_verb);
    let mut head: Option<&str> = None;
    let mut at = 0;
    while let Some(&word) = words.get(at) {
        let next = words.get(at + 1).copied();
        let ends_after = next.is_none_or(|next| is_sign(next) || is_boundary(next));
        if head.is_none() {
            if is_partitive(word) && next == Some("of") {
                at += 2;
                continue;
            }
            if is_pronoun(word) && ends_after {
                return None;
            }
            if is_determiner(word) {
                at += 1;
                continue;
            }
            let opens_clause = next.is_some_and(|next| is_determiner(next) || is_boundary(next));
            if matches!(verb_of(word), Some((_, Form::Gerund))) && opens_clause {
                return None;
            }
        } else if ends_phrase(head, word, next, ends_after) {
            break;
        }
        let joins_adjectives = matches!(word, "," | "and" | "or") && head.is_some();
        if !joins_adjectives && (is_sign(word) || is_boundary(word)) {
            break;
        }
        if !joins_adjectives {
            head = Some(word);
        }
        at += 1;
    }
    let head = head?.trim_end_matches("'s");
    head.starts_with(char::is_alphabetic).then(|| singular(head))
}

/// Past particles ("write down the"), a second verb ("compare and contrast the"), adverbs, and people the thing is given to.
fn skip_before_phrase<'a, 'w>(words: &'w [&'a str]) -> &'w [&'a str] {
    let mut rest = words;
    if let [joint, verb, ..] = rest
        && ["and", "or", ","].contains(joint)
        && matches!(verb_of(verb), Some((_, Form::Base)))
    {
        rest = &rest[2..];
    }
    while let [first, ..] = rest
        && (is_particle(first) || first.ends_with("ly") && first.len() > 4)
    {
        rest = &rest[1..];
    }
    if let [person, next, ..] = rest
        && ["me", "us"].contains(person)
        && !is_boundary(next)
        && !is_sign(next)
    {
        rest = &rest[1..];
    }
    rest
}

/// Whether the phrase is over before `word`, when it has the noun `head` already.
fn ends_phrase(head: Option<&str>, word: &str, next: Option<&str>, ends_after: bool) -> bool {
    let is_adjective = head.is_some_and(looks_like_adjective);
    if matches!(word, "," | "and" | "or") {
        let goes_on = next.is_some_and(|next| {
            !is_sign(next)
                && !is_boundary(next)
                && !is_determiner(next)
                && !matches!(verb_of(next), Some((_, Form::Base)))
        });
        return !(is_adjective && goes_on);
    }
    if is_determiner(word) || is_particle(word) {
        return true;
    }
    let opens_clause = ends_after || next.is_some_and(is_determiner);
    match verb_of(word) {
        Some((_, Form::Past)) => ends_after,
        Some((_, Form::Gerund)) => opens_clause && !ends_after,
        _ => (word.ends_with("ed") || word.ends_with("ly")) && ends_after,
    }
}

/// Whether a token is a sign and no word.
pub(super) fn is_sign(token: &str) -> bool {
    !token.starts_with(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        object(&text.split(' ').collect::<Vec<_>>())
    }

    #[test]
    fn heads_of_phrases() {
        for (text, noun) in [
            ("the main findings of the study", "finding"),
            ("every drug that stands in the note", "drug"),
            ("one of the three trials", "trial"),
            ("a short , clear summary", "summary"),
            ("the oral and written instructions", "instruction"),
            ("the title and abstract", "title"),
            ("down the terms", "term"),
            ("me a list of foods", "list"),
            ("and contrast the two tests", "test"),
            ("the findings described below", "finding"),
            ("a summary highlighting the aim", "summary"),
            ("the given newly synthesized compound", "compound"),
            ("this patient's message", "message"),
            ("briefly the plan", "plan"),
        ] {
            assert_eq!(of(text).as_deref(), Some(noun), "{text}");
        }
        for text in [
            "it in other words",
            "how it works",
            "whether",
            "",
            ", please",
            "in two words",
            "telling a patient",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
