//! The byte alphabet of GPT-2: each byte is written as one printable character.
//!
//! Bytes that print in Latin-1 stand for themselves; the other 68 are U+0100, U+0101, … in order.

use std::sync::LazyLock;

static ALPHABET: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut next = 0x100u32;
    std::array::from_fn(|byte| {
        let byte = byte as u8;
        if matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) {
            return char::from(byte);
        }
        next += 1;
        char::from_u32(next - 1).expect("U+0100 to U+0143 are characters")
    })
});

/// The character of a byte.
pub(super) fn character(byte: u8) -> char {
    ALPHABET[usize::from(byte)]
}

/// `text` in the alphabet, one character for each of its UTF-8 bytes.
pub(super) fn spell(text: &str) -> String {
    text.bytes().map(character).collect()
}

/// The bytes that `token` spells; its own UTF-8 when a character is not of the alphabet.
pub(super) fn bytes(token: &str) -> Vec<u8> {
    let byte = |character: char| -> Option<u8> {
        match character as u32 {
            plain @ 0..=0xff if ALPHABET[plain as usize] == character => Some(plain as u8),
            shifted @ 0x100..=0x143 => {
                (0..=255).find(|byte| ALPHABET[usize::from(*byte)] as u32 == shifted)
            }
            _ => None,
        }
    };
    token.chars().map(byte).collect::<Option<_>>().unwrap_or_else(|| token.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_a_bijection() {
        assert_eq!((character(b'A'), character(b' '), character(b'\n')), ('A', 'Ġ', 'Ċ'));
        for byte in 0..=255u8 {
            assert_eq!(bytes(&character(byte).to_string()), [byte]);
        }
        assert_eq!(bytes(&spell("é 猫\n")), "é 猫\n".as_bytes());
        assert_eq!(bytes("<|猫|>"), "<|猫|>".as_bytes(), "not of the alphabet: literal");
    }
}
