//! Tokens' bytes to text that can be shown at once: [`TextStream`].

/// The text of one reply as it grows.
///
/// Characters whose bytes are spread over tokens wait until they are whole, and text that may be the beginning of a stop
/// string waits until it is known not to be. Which stop string ends the reply, and where, does not depend on where the
/// borders of the tokens are: it is the one that is complete first, the longest of those.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    stops: Vec<String>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// All text so far, up to the stop string.
    text: String,
    /// Bytes of it that were handed out.
    told: usize,
}

/// What a token brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// New text for the reader; may be empty.
    pub text: String,
    /// Whether a stop string is complete: nothing may follow.
    pub stopped: bool,
}

impl TextStream {
    /// A reply that ends before the first of these strings. Empty ones never end it.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, ..Self::default() }
    }

    /// Takes a token's bytes. Bytes that are no UTF-8 become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        self.decode(bytes);
        let stop = self.first_stop();
        let ready = match stop {
            Some(start) => {
                self.text.truncate(start);
                self.bytes.clear();
                start
            }
            None => self.text.len() - self.held(),
        };
        Piece { text: self.tell(ready), stopped: stop.is_some() }
    }

    /// The text that was held back, when no more tokens come. The beginning of a character that never came to its end is
    /// left out.
    pub fn finish(&mut self) -> String {
        self.bytes.clear();
        self.tell(self.text.len())
    }

    /// All text so far, including what is still held back.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn tell(&mut self, end: usize) -> String {
        let piece = self.text[self.told..end].to_owned();
        self.told = end;
        piece
    }

    fn decode(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let (valid, broken) = match std::str::from_utf8(rest) {
                Ok(_) => (rest.len(), Some(0)),
                Err(error) => (error.valid_up_to(), error.error_len()),
            };
            self.text.push_str(&String::from_utf8_lossy(&rest[..valid]));
            rest = &rest[valid..];
            match broken {
                Some(0) => {}
                Some(length) => {
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[length..];
                }
                None => break,
            }
        }
        self.bytes = rest.to_vec();
    }

    /// Where the stop string that is complete first begins. What was told can be no part of one.
    fn first_stop(&self) -> Option<usize> {
        let open = &self.text[self.told..];
        self.stops
            .iter()
            .filter_map(|stop| open.find(stop.as_str()).map(|start| (start + stop.len(), start)))
            .min()
            .map(|(_, start)| self.told + start)
    }

    /// Bytes at the end that may be the beginning of a stop string.
    fn held(&self) -> usize {
        let open = &self.text[self.told..];
        let beginnings = self
            .stops
            .iter()
            .flat_map(|stop| stop.char_indices().skip(1).map(|(length, _)| &stop[..length]));
        beginnings.filter(|beginning| open.ends_with(beginning)).map(str::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(stops: &[&str]) -> Vec<String> {
        stops.iter().map(|stop| (*stop).to_owned()).collect()
    }

    #[test]
    fn characters_wait_for_their_last_byte() {
        let mut stream = TextStream::new(&[]);
        let told: Vec<String> = "aβ€😀".bytes().map(|byte| stream.push(&[byte]).text).collect();
        assert_eq!(told, ["a", "", "β", "", "", "€", "", "", "", "😀"]);
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn broken_bytes_become_one_sign_and_a_broken_end_is_left_out() {
        let mut stream = TextStream::new(&[]);
        assert_eq!(stream.push(b"a\xff\xe2\x82b").text, "a\u{FFFD}\u{FFFD}b");
        assert_eq!(stream.push(b"\xe2\x82").text, "");
        assert_eq!(stream.finish(), "");
        assert_eq!(stream.text(), "a\u{FFFD}\u{FFFD}b");
    }

    #[test]
    fn a_stop_string_is_found_across_tokens_and_never_told() {
        let mut stream = TextStream::new(&stops(&["\n\nUser:", "###"]));
        let tokens = ["Yes.", "\n", "\nUs", "er", " #", "#x\n\nUser", ": no"];
        let pieces: Vec<Piece> = tokens.iter().map(|token| stream.push(token.as_bytes())).collect();
        let told: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(told, ["Yes.", "", "", "", "\n\nUser ", "##x", ""]);
        assert!(pieces[6].stopped && !pieces[5].stopped);
        assert_eq!(stream.text(), "Yes.\n\nUser ##x");
        assert_eq!(stream.finish(), "");
    }

    #[test]
    fn held_text_comes_at_the_end() {
        let mut stream = TextStream::new(&stops(&["END", ""]));
        assert_eq!(stream.push(b"the EN").text, "the ");
        assert_eq!(stream.finish(), "EN");
    }

    #[test]
    fn the_stop_string_that_is_complete_first_counts() {
        for borders in [vec!["xabcy"], vec!["xa", "bcy"], vec!["x", "a", "b", "c", "y"]] {
            let mut stream = TextStream::new(&stops(&["abc", "b", "ab"]));
            let stopped = borders.iter().any(|token| stream.push(token.as_bytes()).stopped);
            assert!(stopped);
            assert_eq!(stream.text(), "x", "{borders:?}");
        }
    }

    /// The same by looking at the whole text after each character.
    fn cut(text: &str, stops: &[String]) -> (String, bool) {
        for end in text.char_indices().map(|(at, character)| at + character.len_utf8()) {
            let longest =
                stops.iter().filter(|stop| text[..end].ends_with(*stop)).map(String::len).max();
            if let Some(length) = longest {
                return (text[..end - length].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn borders_change_nothing(
            text in "[abβ]{0,24}",
            stops in prop::collection::vec("[abβ]{1,4}", 0..3),
            sizes in prop::collection::vec(1usize..5, 48),
        ) {
            let (expected, expected_stop) = cut(&text, &stops);
            let mut stream = TextStream::new(&stops);
            let (mut told, mut stopped, mut rest) = (String::new(), false, text.as_bytes());
            for size in sizes {
                let (token, after) = rest.split_at(size.min(rest.len()));
                let piece = stream.push(token);
                told.push_str(&piece.text);
                prop_assert!(expected.starts_with(&told), "told {told:?}, expected {expected:?}");
                rest = after;
                if piece.stopped {
                    stopped = true;
                    break;
                }
            }
            told.push_str(&stream.finish());
            prop_assert_eq!(&told, &expected);
            prop_assert_eq!(stream.text(), &expected);
            prop_assert_eq!(stopped, expected_stop);
        }
    }
}
