//! The words that the extraction of verbs and nouns knows: [`verb_of`], the classes of function words, [`singular`].

use std::collections::{HashMap, HashSet};
use std::iter;
use std::sync::LazyLock;

use foldhash::fast::FixedState;

/// Asked for every word of every instruction, some of them several times.
type WordSet = HashSet<&'static str, FixedState>;

const VERB_FILE: &str = include_str!("../../data/verbs.txt");

static VERBS: LazyLock<WordSet> = LazyLock::new(|| {
    let lines = VERB_FILE.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).collect()
});

fn words(list: &'static str) -> WordSet {
    list.split_whitespace().collect()
}

static BOUNDARIES: LazyLock<WordSet> = LazyLock::new(|| {
    words(
        "of in on for to with from by at about between into through during using after before without within as than \
     under over among against regarding concerning including per via based that which who whose whom where when how \
     why what whether if because while so and or but is are was were be been has have had can could may might should \
     would will must do does did not it they he she we you i below above following then either together behind beyond \
     upon outside inside beside beneath despite around along near across towards toward such until since like here \
     there",
    )
});

static DETERMINERS: LazyLock<WordSet> = LazyLock::new(|| {
    words(
        "the a an this that these those each every all any some no both its their his her your my our another other \
     following more most least many several few only one two three four five six seven eight nine ten twenty single \
     very same such whole own up first second last next also just exactly even quite less certain different various \
     possible potential much given",
    )
});

static PARTITIVES: LazyLock<WordSet> = LazyLock::new(|| {
    words("one each any some all both none many most several two three four five few either")
});

static OPENERS: LazyLock<WordSet> = LazyLock::new(|| {
    words(
        "given based using from for in on at according with without after before considering as assuming under to if when \
     by following provided suppose reading looking imagine while within drawing taking keeping where during through \
     until once between because among of unless",
    )
});

static SHORT: LazyLock<WordSet> = LazyLock::new(|| {
    words(
        "short brief clear simple plain concise new main key major common complex long good best high low small large \
     correct likely kind easy precise oral",
    )
});

/// The forms of a verb that look different from its base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `list`.
    Base,
    /// `lists`.
    Third,
    /// `listed`, `written`: past or participle.
    Past,
    /// `listing`.
    Gerund,
}

const IRREGULAR: &[(&str, &str)] = &[
    ("is", "be"),
    ("are", "be"),
    ("was", "be"),
    ("were", "be"),
    ("been", "be"),
    ("has", "have"),
    ("had", "have"),
    ("made", "make"),
    ("given", "give"),
    ("gave", "give"),
    ("written", "write"),
    ("wrote", "write"),
    ("rewritten", "rewrite"),
    ("taken", "take"),
    ("took", "take"),
    ("found", "find"),
    ("shown", "show"),
    ("known", "know"),
    ("seen", "see"),
    ("told", "tell"),
    ("said", "say"),
    ("sent", "send"),
    ("begun", "begin"),
    ("began", "begin"),
    ("drawn", "draw"),
    ("chosen", "choose"),
    ("meant", "mean"),
    ("kept", "keep"),
    ("left", "leave"),
    ("led", "lead"),
    ("built", "build"),
    ("brought", "bring"),
    ("thought", "think"),
    ("understood", "understand"),
    ("undergone", "undergo"),
    ("grown", "grow"),
    ("spoken", "speak"),
    ("become", "become"),
    ("came", "come"),
    ("held", "hold"),
];

/// All forms of all verbs: what [`by_rule`] says of everything that it accepts.
static FORMS: LazyLock<HashMap<String, (&'static str, Form), FixedState>> = LazyLock::new(|| {
    let irregular = IRREGULAR.iter().map(|(form, _)| (*form).to_owned());
    let forms = VERBS.iter().flat_map(|verb| possible_forms(verb)).chain(irregular);
    forms
        .filter_map(|form| Some((by_rule(&form)?, form)))
        .map(|(verb, form)| (form, verb))
        .collect()
});

/// Everything that the rule may take for a form of a verb, and more.
fn possible_forms(verb: &str) -> Vec<String> {
    let british = verb.strip_suffix("ze").map(|stem| format!("{stem}se"));
    let mut forms = Vec::new();
    for base in iter::once(verb).chain(british.as_deref()) {
        let without_last = &base[..base.len() - 1];
        let doubled = format!("{base}{}", &base[base.len() - 1..]);
        for stem in [base, without_last, &doubled] {
            let endings = ["", "ies", "es", "s", "ied", "ed", "d", "ing"];
            forms.extend(endings.map(|ending| format!("{stem}{ending}")));
        }
    }
    forms
}

/// The base of a verb's form, when the verb is known. British `-ise` and `-yse` become `-ize` and `-yze`.
pub(super) fn verb_of(word: &str) -> Option<(&'static str, Form)> {
    FORMS.get(word).copied()
}

fn by_rule(word: &str) -> Option<(&'static str, Form)> {
    if let Some(base) = known(word) {
        return Some((base, Form::Base));
    }
    if let Some(&(_, base)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        let form = if ["is", "are", "has"].contains(&word) { Form::Third } else { Form::Past };
        return Some((base, form));
    }
    let stripped = [
        ("ies", "y", Form::Third),
        ("es", "", Form::Third),
        ("s", "", Form::Third),
        ("ied", "y", Form::Past),
        ("ed", "", Form::Past),
        ("d", "", Form::Past),
        ("ing", "", Form::Gerund),
        ("ing", "e", Form::Gerund),
    ];
    stripped.into_iter().find_map(|(ending, replacement, form)| {
        let stem = word.strip_suffix(ending)?;
        let base = match replacement {
            "" => known(stem),
            letter => known(&format!("{stem}{letter}")),
        };
        Some((base.or_else(|| undoubled(stem))?, form))
    })
}

/// `stopp` of `stopped` is `stop`.
fn undoubled(stem: &str) -> Option<&'static str> {
    let mut letters = stem.chars().rev();
    let (last, before) = (letters.next()?, letters.next()?);
    (last == before).then(|| known(&stem[..stem.len() - last.len_utf8()])).flatten()
}

fn known(word: &str) -> Option<&'static str> {
    let american = ["ise", "yse"].into_iter().find_map(|ending| {
        let stem = word.strip_suffix(ending)?;
        Some(format!("{stem}{}ze", &ending[..1]))
    });
    let spelled = american.and_then(|word| VERBS.get(word.as_str()));
    spelled.or_else(|| VERBS.get(word)).copied()
}

/// Words that end a noun phrase, or before which none has begun.
pub(super) fn is_boundary(word: &str) -> bool {
    BOUNDARIES.contains(word)
}

/// What may stand before the noun and is none: articles, pronouns that go with a noun, numbers, degree words.
pub(super) fn is_determiner(word: &str) -> bool {
    DETERMINERS.contains(word) || word.starts_with(|first: char| first.is_ascii_digit())
}

/// Heads after which "of" leads to the noun that is meant: "one of the trials".
pub(super) fn is_partitive(word: &str) -> bool {
    PARTITIVES.contains(word)
}

/// Particles of verbs such as "write down".
pub(super) fn is_particle(word: &str) -> bool {
    ["down", "out", "up", "off", "away", "apart", "back"].contains(&word)
}

/// Pronouns that can be an object.
pub(super) fn is_pronoun(word: &str) -> bool {
    [
        "it",
        "them",
        "me",
        "us",
        "him",
        "you",
        "yourself",
        "itself",
        "this",
        "these",
        "that",
        "those",
        "everything",
        "nothing",
        "anything",
        "something",
        "more",
    ]
    .contains(&word)
}

/// Auxiliaries that open a question or follow its first phrase.
pub(super) fn is_auxiliary(word: &str) -> bool {
    is_modal(word)
        || ["is", "are", "was", "were", "do", "does", "did", "has", "have", "had"].contains(&word)
}

/// Auxiliaries after which the verb stands in its base form.
pub(super) fn is_modal(word: &str) -> bool {
    ["can", "could", "may", "might", "should", "would", "will", "must", "shall"].contains(&word)
}

/// Words that open a question.
pub(super) fn is_question_word(word: &str) -> bool {
    ["what", "which", "who", "whom", "whose", "why", "how", "when", "where"].contains(&word)
}

/// Words that open a phrase before the request: "Given a note, list …".
pub(super) fn opens_lead_in(word: &str) -> bool {
    OPENERS.contains(word)
}

/// Adjectives by their ending, for lists of them before a noun; nouns such as "hospital" end alike, so a word is an adjective only
/// where one is looked for.
pub(super) fn looks_like_adjective(word: &str) -> bool {
    const ENDINGS: &[&str] =
        &["al", "ic", "ive", "ous", "ful", "less", "able", "ible", "ary", "ent", "ant", "ed"];
    SHORT.contains(word) || word.len() > 4 && ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// The singular of a noun, by rule.
pub(super) fn singular(noun: &str) -> String {
    const IRREGULAR: &[(&str, &str)] = &[
        ("people", "people"),
        ("children", "child"),
        ("criteria", "criterion"),
        ("phenomena", "phenomenon"),
        ("women", "woman"),
        ("men", "man"),
        ("indices", "index"),
        ("lives", "life"),
        ("species", "species"),
        ("series", "series"),
        ("means", "means"),
        ("bacteria", "bacterium"),
        ("gas", "gas"),
        ("bias", "bias"),
        ("lens", "lens"),
    ];
    if let Some((_, one)) = IRREGULAR.iter().find(|(many, _)| *many == noun) {
        return (*one).to_owned();
    }
    if ["gnoses", "theses", "lyses", "nopses"].iter().any(|ending| noun.ends_with(ending)) {
        return format!("{}is", &noun[..noun.len() - 2]);
    }
    if noun.ends_with("uses")
        && !["a", "o"].iter().any(|vowel| noun[..noun.len() - 4].ends_with(vowel))
    {
        return noun.strip_suffix("es").filter(|stem| stem.len() > 3).unwrap_or("use").to_owned();
    }
    if ["ss", "us", "is", "ics"].iter().any(|ending| noun.ends_with(ending)) {
        return noun.to_owned();
    }
    if let Some(stem) = noun.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    for ending in ["sses", "xes", "ches", "shes", "zzes"] {
        if noun.ends_with(ending) {
            return noun[..noun.len() - 2].to_owned();
        }
    }
    match noun.strip_suffix('s').filter(|stem| stem.len() > 1) {
        Some(stem) => stem.to_owned(),
        None => noun.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_lead_to_bases() {
        let of = |word: &str| verb_of(word).map(|(base, _)| base);
        for (form, base) in [
            ("summarises", "summarize"),
            ("analysed", "analyze"),
            ("stopped", "stop"),
            ("identifies", "identify"),
            ("writing", "write"),
            ("given", "give"),
            ("classified", "classify"),
            ("described", "describe"),
        ] {
            assert_eq!(of(form), Some(base), "{form}");
        }
        assert_eq!(of("patient"), None);
        assert_eq!(verb_of("listing"), Some(("list", Form::Gerund)));
    }

    proptest! {
        /// Words that are forms of verbs, nearly are, or might be.
        #[test]
        fn the_table_of_forms_is_the_rule(
            verb in prop::sample::select(VERBS.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()),
            cut in 0usize..3,
            ending in "(ise|yse|ize)?[a-z]?(ies|es|s|ied|ed|d|ing|e|y)?",
        ) {
            let word = format!("{}{ending}", &verb[..verb.len().saturating_sub(cut)]);
            prop_assert_eq!(verb_of(&word), by_rule(&word), "{}", word);
        }
    }

    #[test]
    fn nouns_become_singular() {
        for (many, one) in [
            ("diagnoses", "diagnosis"),
            ("causes", "cause"),
            ("studies", "study"),
            ("analyses", "analysis"),
            ("indexes", "index"),
            ("viruses", "virus"),
            ("uses", "use"),
            ("statistics", "statistics"),
            ("gas", "gas"),
        ] {
            assert_eq!(singular(many), one);
        }
    }
}
