//! Content hashes: [`ContentHash`] names rows, files and configurations by what they contain.
//!
//! JSON is hashed in a canonical form (object keys sorted, no spaces), because the order of keys in memory depends on
//! crate features that this program does not control.

use std::fmt;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A BLAKE3 hash, written as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(String);

impl ContentHash {
    /// The hash of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).to_hex().to_string())
    }

    /// The hash of several byte strings; lengths are mixed in, so `["ab", "c"]` and `["a", "bc"]` differ.
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(hash_of_parts(parts).to_hex().to_string())
    }

    /// The hash of a JSON value in canonical form.
    pub fn of_json(value: &Value) -> Self {
        Self::of_bytes(canonical_json(value).as_bytes())
    }

    /// The hash of a file's bytes, read in pieces, each hashed on all threads of the current rayon pool.
    pub fn of_file(path: &Path) -> std::io::Result<Self> {
        let mut file = fs_err::File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(Self(hasher.finalize().to_hex().to_string()));
            }
            hasher.update_rayon(&buffer[..read]);
        }
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 16 digits: enough to name a row among millions.
    pub fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// [`ContentHash::short`] of [`ContentHash::of_parts`].
pub fn short_hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    hash_of_parts(parts).to_hex()[..16].to_owned()
}

/// The first 128 bits of [`ContentHash::of_parts`] as a number, in the order of its digits: for tables in memory.
pub fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u128 {
    let mut first = [0; 16];
    first.copy_from_slice(&hash_of_parts(parts).as_bytes()[..16]);
    u128::from_be_bytes(first)
}

fn hash_of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.finalize()
}

/// JSON with sorted keys and no spaces.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (position, key) in keys.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn key_order_does_not_change_the_hash() {
        let first: Value = serde_json::from_str(r#"{"b":1,"a":[{"y":2,"x":"é"}]}"#).unwrap();
        let second = json!({"a": [{"x": "é", "y": 2}], "b": 1});
        assert_eq!(canonical_json(&first), r#"{"a":[{"x":"é","y":2}],"b":1}"#);
        assert_eq!(ContentHash::of_json(&first), ContentHash::of_json(&second));
    }

    #[test]
    fn part_boundaries_change_the_hash() {
        let first = ContentHash::of_parts([b"ab".as_slice(), b"c".as_slice()]);
        let second = ContentHash::of_parts([b"a".as_slice(), b"bc".as_slice()]);
        assert_ne!(first, second);
    }
}
