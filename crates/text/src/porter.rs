//! The Porter stemmer in the variant that NLTK uses by default (`NLTK_EXTENSIONS`), which `rouge_score` calls.
//!
//! M. F. Porter, "An algorithm for suffix stripping", 1980. NLTK's departures from the paper are: a short list of irregular
//! words, nothing done to words of one or two letters, `-ies` and `-ied` after one letter give `-ie`, a final `y` turns to
//! `i` after any consonant but not as second letter, `-bli` and `-fulli` and `-logi` in step 2, `-alli` handled first, and a
//! vowel with a consonant counts as a short syllable. The golden word list in `tests/goldens/rouge` is the arbiter.

/// Words whose stem no rule finds, with that stem.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("inning", "inning"),
    ("innings", "inning"),
    ("outing", "outing"),
    ("outings", "outing"),
    ("canning", "canning"),
    ("cannings", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Step 2: suffix and replacement where the stem has a measure above 0. Order matters: the first suffix that fits decides.
const DOUBLE_SUFFIXES: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// Step 3: suffix and replacement where the stem has a measure above 0.
const SINGLE_SUFFIXES: [(&str, &str); 7] = [
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
];

/// Step 4: suffixes that go where the stem has a measure above 1 (`ion` only after s or t).
const FINAL_SUFFIXES: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou",
    "ism", "ate", "iti", "ous", "ive", "ize",
];

/// The stem of `word`, which is expected in lower case; characters outside `a-z` count as consonants.
///
/// ```
/// # use bioinstruct_text::porter::stem;
/// assert_eq!(stem("hospitalizations"), "hospit");
/// assert_eq!(stem("therapies"), stem("therapy"));
/// ```
pub fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).to_owned();
    }
    let mut word = word.to_owned();
    if word.chars().count() <= 2 {
        return word;
    }
    strip_plural(&mut word);
    strip_past_and_progressive(&mut word);
    turn_final_y(&mut word);
    shorten_double_suffix(&mut word);
    replace_first(&mut word, &SINGLE_SUFFIXES);
    strip_final_suffix(&mut word);
    tidy_end(&mut word);
    word
}

/// Step 1a: plurals.
fn strip_plural(word: &mut String) {
    if word.ends_with("sses") || word.ends_with("ies") {
        let dropped = if is_one_letter_and(word, "ies") { 1 } else { 2 };
        word.truncate(word.len() - dropped);
    } else if word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
}

/// Step 1b: `-eed`, `-ed`, `-ing`, and the repair of what they leave.
fn strip_past_and_progressive(word: &mut String) {
    if word.ends_with("ied") {
        let dropped = if is_one_letter_and(word, "ied") { 1 } else { 2 };
        word.truncate(word.len() - dropped);
    } else if let Some(stem) = word.strip_suffix("eed") {
        if measure(stem) > 0 {
            word.pop();
        }
    } else {
        let stem = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix));
        let Some(length) = stem.filter(|stem| has_vowel(stem)).map(str::len) else {
            return;
        };
        word.truncate(length);
        repair_stem(word);
    }
}

/// Gives the stem left by `-ed` or `-ing` its `e` back (`siz` → `size`) or takes one of its doubled letters (`hopp` → `hop`).
fn repair_stem(word: &mut String) {
    if ["at", "bl", "iz"].iter().any(|suffix| word.ends_with(suffix)) {
        word.push('e');
    } else if ends_in_double_consonant(word) {
        if !word.ends_with(['l', 's', 'z']) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_in_short_syllable(word) {
        word.push('e');
    }
}

/// Step 1c: a final `y` after a consonant becomes `i`, except as the second letter.
fn turn_final_y(word: &mut String) {
    if let Some(stem) = word.strip_suffix('y')
        && stem.chars().count() > 1
        && consonants(stem).last() == Some(&true)
    {
        word.pop();
        word.push('i');
    }
}

/// Step 2: double suffixes become single ones.
fn shorten_double_suffix(word: &mut String) {
    if let Some(stem) = word.strip_suffix("alli")
        && measure(stem) > 0
    {
        // `-ally` hides another suffix: rationally → rational, conditionally → conditional → condition.
        word.truncate(word.len() - 2);
    }
    if !replace_first(word, &DOUBLE_SUFFIXES)
        && word.ends_with("logi")
        && measure(&word[..word.len() - 3]) > 0
    {
        // The l is measured with the stem, so that geology behaves as archaeology does.
        word.pop();
    }
}

/// Step 4: what suffix is left goes.
fn strip_final_suffix(word: &mut String) {
    let Some(stem) = FINAL_SUFFIXES.iter().find_map(|suffix| word.strip_suffix(suffix)) else {
        return;
    };
    let is_ion = word.len() - stem.len() == 3 && word.ends_with("ion");
    if measure(stem) > 1 && (!is_ion || stem.ends_with(['s', 't'])) {
        word.truncate(stem.len());
    }
}

/// Step 5: a final `e` and a doubled final `l`.
fn tidy_end(word: &mut String) {
    if let Some(stem) = word.strip_suffix('e') {
        let measure = measure(stem);
        if measure > 1 || (measure == 1 && !ends_in_short_syllable(stem)) {
            word.pop();
        }
    }
    if word.ends_with("ll") && measure(&word[..word.len() - 1]) > 1 {
        word.pop();
    }
}

/// Replaces the first suffix of `rules` that `word` ends with, if the stem before it has a measure above 0; later rules are
/// not tried. Returns whether a suffix fitted.
fn replace_first(word: &mut String, rules: &[(&str, &str)]) -> bool {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            if measure(stem) > 0 {
                word.truncate(stem.len());
                word.push_str(replacement);
            }
            return true;
        }
    }
    false
}

fn is_one_letter_and(word: &str, suffix: &str) -> bool {
    word.strip_suffix(suffix).is_some_and(|stem| stem.chars().count() == 1)
}

/// For each character whether it is a consonant: no vowel letter, and `y` only at the start or after a vowel.
fn consonants(word: &str) -> Vec<bool> {
    let mut flags: Vec<bool> = Vec::with_capacity(word.len());
    for character in word.chars() {
        flags.push(match character {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => flags.last().is_none_or(|before| !before),
            _ => true,
        });
    }
    flags
}

/// Porter's measure m: how often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

fn has_vowel(stem: &str) -> bool {
    consonants(stem).contains(&false)
}

fn ends_in_double_consonant(word: &str) -> bool {
    let mut backwards = word.chars().rev();
    let doubled = matches!((backwards.next(), backwards.next()), (Some(a), Some(b)) if a == b);
    doubled && consonants(word).last() == Some(&true)
}

/// Consonant, vowel, consonant other than w, x, y at the end; or a word of just a vowel and a consonant.
fn ends_in_short_syllable(word: &str) -> bool {
    match consonants(word).as_slice() {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measure_counts_vowel_consonant_turns() {
        for (word, expected) in
            [("", 0), ("tree", 0), ("by", 0), ("oats", 1), ("ivy", 1), ("private", 2), ("yyyy", 1)]
        {
            assert_eq!(measure(word), expected, "{word}");
        }
    }
}
