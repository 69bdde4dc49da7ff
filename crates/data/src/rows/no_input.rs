//! The many ways of writing "there is no input": [`says_no_input`].
//!
//! Models asked for an input write `N/A`, `None`, `<noinput>` or "No input needed" when a task has none, and the published
//! `BioInstruct` rows keep that. Readers leave such text alone; a caller that wants it empty asks for it here.

use bioinstruct_text::normalize::answer_key;

/// Spellings in lower case, without brackets, quotation marks and a final period.
const SPELLINGS: [&str; 20] = [
    "n/a",
    "n.a",
    "nil",
    "no additional input",
    "no additional input needed",
    "no additional input required",
    "no input",
    "no input necessary",
    "no input needed",
    "no input provided",
    "no input required",
    "no specific input",
    "no specific input needed",
    "no specific input required",
    "noinput",
    "none",
    "none needed",
    "none required",
    "not applicable",
    "not required",
];

/// Whether `input` is empty or only says that there is no input.
///
/// `Na` is not among the spellings: it is also sodium.
///
/// ```
/// # use bioinstruct_data::rows::says_no_input;
/// assert!(says_no_input(" <noinput> ") && says_no_input("Not applicable."));
/// assert!(!says_no_input("Na") && !says_no_input("None of the patients had fever."));
/// ```
pub fn says_no_input(input: &str) -> bool {
    let key = answer_key(input);
    let is_frame = |character: char| "<>[](){}\"'`*. ".contains(character);
    let bare = key.trim_matches(is_frame);
    bare.is_empty() && key.chars().all(is_frame) || SPELLINGS.contains(&bare)
}

/// `input`, or an empty text where it only says that there is none.
pub fn input_or_empty(input: &str) -> &str {
    if says_no_input(input) { "" } else { input }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_the_published_rows() {
        for input in ["", "N/A", "None", "Not applicable", "No input needed", "n/a.", "(none)"] {
            assert!(says_no_input(input), "{input}");
        }
        for input in ["Aspirin", "NaCl", "no", "no input device", "nonea", "n", "Process: osmosis"]
        {
            assert!(!says_no_input(input), "{input}");
        }
        assert_eq!(input_or_empty("None"), "");
        assert_eq!(input_or_empty(" DNA "), " DNA ");
    }
}
