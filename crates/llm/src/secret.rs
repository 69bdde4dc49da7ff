//! API keys: a [`Secret`] goes into one request header and nowhere else.

use std::fmt;

use reqwest::header::HeaderValue;

/// The shortest piece of a key that is worth hiding; shorter keys (`EMPTY`, `none`) are placeholders, not secrets.
const SHORTEST_PIECE: usize = 8;
/// From this length on, a key is certainly no common word.
const SURELY_A_KEY: usize = 20;

/// A key that cannot be printed, logged or serialized. The caller reads it from the environment, never from arguments.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes a key; white space around it (a line feed from a file) is not part of it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// The value of an `Authorization` header, marked so that no library prints it; nothing when the key holds
    /// characters that a header cannot carry.
    pub(crate) fn bearer(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Whether this text holds the whole key.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.0.len() >= SURELY_A_KEY && text.contains(&self.0)
    }

    /// The text with every piece of the key (eight characters or more) taken out: servers do echo what they were sent.
    pub(crate) fn redact(&self, text: &str) -> String {
        let key: Vec<char> = self.0.chars().collect();
        if key.len() < SHORTEST_PIECE {
            return text.to_owned();
        }
        let characters: Vec<char> = text.chars().collect();
        let mut clean = String::with_capacity(text.len());
        let mut position = 0;
        while position < characters.len() {
            let longest = (0..key.len())
                .map(|start| common_prefix(&characters[position..], &key[start..]))
                .max()
                .unwrap_or(0);
            if longest >= SHORTEST_PIECE {
                clean.push_str("[key]");
                position += longest;
            } else {
                clean.push(characters[position]);
                position += 1;
            }
        }
        clean
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

fn common_prefix(left: &[char], right: &[char]) -> usize {
    left.iter().zip(right).take_while(|(first, second)| first == second).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_key_are_taken_out_and_placeholders_are_not() {
        let secret = Secret::new("sk-CANARY-0123456789abcdef\n");
        assert_eq!(format!("{secret:?}"), "Secret");
        assert_eq!(
            secret.redact("bad key sk-CANARY-0123456789abcdef, or 456789abcd, é 456789"),
            "bad key [key], or [key], é 456789"
        );
        assert!(secret.is_in("x sk-CANARY-0123456789abcdef"));
        assert_eq!(Secret::new("EMPTY").redact("EMPTY reply"), "EMPTY reply");
        assert!(!Secret::new("").is_in("anything"));
    }

    #[test]
    fn the_header_hides_its_value_and_refuses_control_characters() {
        let value = Secret::new("sk-CANARY").bearer().unwrap();
        assert!(!format!("{value:?}").contains("CANARY"));
        assert!(Secret::new("sk\u{0}x").bearer().is_none());
    }
}
