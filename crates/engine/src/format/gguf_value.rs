//! Metadata values of a GGUF file. Main type: [`Value`]. Arrays stay in the file: only their place is kept.

use std::ops::Range;

use super::cursor::Cursor;
use super::error::Problem;

/// A metadata value. Integers of all widths are widened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Array),
}

/// An array value: checked element by element when the header is read, decoded when asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    /// The type number of the elements.
    pub(crate) element: u32,
    /// How many there are.
    pub(crate) count: usize,
    /// Where they are in the file.
    pub(crate) range: Range<usize>,
}

/// Type number of a string in the file.
pub(crate) const TEXT: u32 = 8;
const BOOL: u32 = 7;
const ARRAY: u32 = 9;
/// Elements that one array may have: larger than any vocabulary or list of merges.
const MAXIMUM_ELEMENTS: u64 = 1 << 24;

impl Value {
    /// What it is, for an error message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Unsigned(value) => value.to_string(),
            Self::Signed(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Text(value) => format!("{value:?}"),
            Self::Array(array) => format!("an array of {} elements", array.count),
        }
    }

    /// Reads a value of the type with this number.
    pub(crate) fn read(cursor: &mut Cursor<'_>, key: &str, number: u32) -> Result<Self, Problem> {
        let what = "a metadata value";
        Ok(match number {
            0 => Self::Unsigned(cursor.u8(what)?.into()),
            1 => Self::Signed(cursor.u8(what)?.cast_signed().into()),
            2 => Self::Unsigned(cursor.u16(what)?.into()),
            3 => Self::Signed(cursor.u16(what)?.cast_signed().into()),
            4 => Self::Unsigned(cursor.u32(what)?.into()),
            5 => Self::Signed(cursor.u32(what)?.cast_signed().into()),
            6 => Self::Float(f32::from_bits(cursor.u32(what)?).into()),
            BOOL => Self::Bool(read_bool(cursor, key)?),
            TEXT => Self::Text(cursor.text(what)?.to_string()),
            ARRAY => Self::Array(Array::read(cursor, key)?),
            10 => Self::Unsigned(cursor.u64(what)?),
            11 => Self::Signed(cursor.u64(what)?.cast_signed()),
            12 => Self::Float(f64::from_bits(cursor.u64(what)?)),
            number => {
                return Err(Problem::ValueType { key: key.to_string(), number });
            }
        })
    }
}

fn read_bool(cursor: &mut Cursor<'_>, key: &str) -> Result<bool, Problem> {
    match cursor.u8("a boolean")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Problem::Field {
            field: key.to_string(),
            found: format!("the byte {other}"),
            expected: "a boolean (0 or 1)",
        }),
    }
}

/// Bytes of one element of a fixed-width type.
fn width(number: u32) -> Option<usize> {
    match number {
        0 | 1 | BOOL => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

impl Array {
    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, Problem> {
        let element = cursor.u32("an array's element type")?;
        let what = "array elements";
        if element == TEXT {
            let count = cursor.count(what, 8, MAXIMUM_ELEMENTS)?;
            let start = cursor.position();
            for _ in 0..count {
                cursor.text("a string of an array")?;
            }
            return Ok(Self { element, count, range: start..cursor.position() });
        }
        // arrays of arrays are refused with the unknown types: no key that is read has one
        let width = width(element)
            .ok_or_else(|| Problem::ValueType { key: key.to_string(), number: element })?;
        let count = cursor.count(what, width, MAXIMUM_ELEMENTS)?;
        // the count was checked against the bytes that are left, so this cannot overflow
        let range = cursor.take((count * width) as u64, what)?;
        Ok(Self { element, count, range })
    }

    /// The elements one by one. `file` is the file that this array was read from.
    fn values<'a>(&'a self, file: &'a [u8]) -> impl Iterator<Item = Result<Value, Problem>> + 'a {
        let mut cursor = Cursor::new(&file[self.range.clone()]);
        (0..self.count).map(move |_| Value::read(&mut cursor, "array", self.element))
    }

    /// The strings, borrowed from `file`; `None` when the elements are not strings.
    pub(crate) fn strings<'a>(&self, file: &'a [u8]) -> Option<Result<Vec<&'a str>, Problem>> {
        if self.element != TEXT {
            return None;
        }
        let mut cursor = Cursor::new(&file[self.range.clone()]);
        Some((0..self.count).map(|_| cursor.text("a string of an array")).collect())
    }

    /// The elements as integers; `None` when they are not, or do not fit.
    pub(crate) fn integers(&self, file: &[u8]) -> Option<Vec<i64>> {
        self.values(file)
            .map(|value| match value.ok()? {
                Value::Unsigned(value) => i64::try_from(value).ok(),
                Value::Signed(value) => Some(value),
                _ => None,
            })
            .collect()
    }

    /// The elements as numbers; `None` when they are not.
    pub(crate) fn numbers(&self, file: &[u8]) -> Option<Vec<f32>> {
        self.values(file)
            .map(|value| match value.ok()? {
                Value::Unsigned(value) => Some(value as f32),
                Value::Signed(value) => Some(value as f32),
                Value::Float(value) => Some(value as f32),
                _ => None,
            })
            .collect()
    }
}
