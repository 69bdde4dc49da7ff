//! White space and letter case, the way Python's `str` methods treat them.
//!
//! Reference numbers and filter rules ("more than 150 words") come from Python programs, so a word here is what
//! `str.split()` makes of a text. Nothing here composes or decomposes accents.

/// Whether Python's `str.isspace` holds for `character`: Unicode white space and the four separators U+001C to U+001F.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}

/// [`is_space`] of a byte of ASCII, in a form of which the compiler compares many at once.
fn is_ascii_space(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(b'\t') < 5) | (byte.wrapping_sub(0x1c) < 4)
}

/// The words of `text` as Python's `str.split()` gives them: maximal runs without white space.
///
/// ```
/// # use bioinstruct_text::normalize::words;
/// assert_eq!(words(" 5 mg\u{a0}b.i.d.\n").collect::<Vec<_>>(), ["5", "mg", "b.i.d."]);
/// ```
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Number of [`words`] of `text`.
pub fn word_count(text: &str) -> usize {
    if !text.is_ascii() {
        return words(text).count();
    }
    let bytes = text.as_bytes();
    let Some(&first) = bytes.first() else { return 0 };
    let starts = |(before, after): (&[u8], &[u8])| -> usize {
        let pairs = before.iter().zip(after);
        usize::from(
            pairs.map(|(&a, &b)| u8::from(is_ascii_space(a) & !is_ascii_space(b))).sum::<u8>(),
        )
    };
    let before = bytes[..bytes.len() - 1].chunks(u8::MAX.into());
    usize::from(!is_ascii_space(first))
        + before.zip(bytes[1..].chunks(u8::MAX.into())).map(starts).sum::<usize>()
}

/// `text` with every run of white space replaced by one space and none at the ends, as `" ".join(text.split())`.
pub fn collapse_whitespace(text: &str) -> String {
    if text.is_ascii() {
        let words = text.as_bytes().split(|&byte| is_ascii_space(byte));
        let mut collapsed = Vec::with_capacity(text.len());
        for word in words.filter(|word| !word.is_empty()) {
            if !collapsed.is_empty() {
                collapsed.push(b' ');
            }
            collapsed.extend_from_slice(word);
        }
        return String::from_utf8(collapsed).unwrap_or_default();
    }
    let mut collapsed = String::with_capacity(text.len());
    for word in words(text) {
        if !collapsed.is_empty() {
            collapsed.push(' ');
        }
        collapsed.push_str(word);
    }
    collapsed
}

/// `text` in lower case, as Python's `str.lower`: full Unicode mappings, so U+212A KELVIN SIGN becomes `k`, U+0130
/// becomes `i` and U+0307, and a capital sigma at the end of a word becomes `ς`.
pub fn lowercase(text: &str) -> String {
    text.to_lowercase()
}

/// `text` folded for caseless comparison: `STRASSE` and `Straße` agree, and so do MICRO SIGN and GREEK SMALL LETTER MU.
///
/// Each character is put in upper and then in lower case, which equals Unicode's full case folding for all but the
/// Cherokee letters (those fold to small letters here, to capitals there; they compare equal all the same).
///
/// ```
/// # use bioinstruct_text::normalize::fold_case;
/// assert_eq!(fold_case("5 \u{b5}g"), fold_case("5 \u{3bc}G"));
/// ```
pub fn fold_case(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().flat_map(fold_character).collect()
}

fn fold_character(character: char) -> impl Iterator<Item = char> {
    // The dotless i is its own folding, but its capital is the ordinary I.
    let upper = if character == 'ı' { None } else { Some(character.to_uppercase()) };
    let kept = upper.is_none().then_some(character);
    upper.into_iter().flatten().flat_map(char::to_lowercase).chain(kept)
}

/// The form under which two answers count as the same: case folded, white space collapsed.
pub fn answer_key(text: &str) -> String {
    collapse_whitespace(&fold_case(text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every code point for which Python 3.11's `str.isspace` is true.
    const PYTHON_SPACES: [u32; 29] = [
        0x9, 0xa, 0xb, 0xc, 0xd, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x85, 0xa0, 0x1680, 0x2000, 0x2001,
        0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200a, 0x2028, 0x2029,
        0x202f, 0x205f, 0x3000,
    ];

    #[test]
    fn white_space_is_python_white_space() {
        let ours: Vec<u32> =
            (0..=0x0010_ffff).filter(|&code| char::from_u32(code).is_some_and(is_space)).collect();
        assert_eq!(ours, PYTHON_SPACES);
    }

    #[test]
    fn words_are_counted_and_collapsed() {
        assert_eq!(word_count(""), 0);
        assert_eq!(word_count(" \u{1f}\u{85}\t"), 0);
        assert_eq!(word_count("zero\u{200b}width stays"), 2);
        assert_eq!(word_count("\u{1c}one\u{b}two \u{1f}three\r\n"), 3);
        assert_eq!(word_count("one\u{b}two ü \u{1f}three"), 4);
        assert_eq!(collapse_whitespace("\n a\t\u{3000}b\u{1c}c  "), "a b c");
        assert_eq!(collapse_whitespace("  "), "");
    }

    proptest! {
        #[test]
        fn ascii_is_read_as_all_text_is(text in "([ -~\\t\\n\u{b}\u{1c}-\u{1f}]|a{1,3} ){0,600}") {
            prop_assert!(text.is_ascii());
            prop_assert_eq!(word_count(&text), words(&text).count());
            let joined = words(&text).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(collapse_whitespace(&text), joined);
        }
    }

    #[test]
    fn lower_case_is_full_unicode() {
        assert_eq!(lowercase("\u{212a}\u{130}"), "ki\u{307}");
        assert_eq!(lowercase("ΟΔΟΣ"), "οδος");
    }

    #[test]
    fn folding_joins_what_only_case_separates() {
        assert_eq!(fold_case("Straße"), "strasse");
        assert_eq!(fold_case("ΟΔΟΣ"), fold_case("οδοσ"));
        assert_eq!(fold_case("ı"), "ı");
        assert_eq!(fold_case("\u{130}"), "i\u{307}");
        assert_eq!(answer_key("  Metformin\n500 MG "), "metformin 500 mg");
    }
}
