//! Event files that `TensorBoard` reads: [`Events`] writes scalars as `TFRecord`s of hand-encoded protocol buffers.
//!
//! An event holds a wall time, so these files stand with the timing, not with the results: no manifest names them, and a run
//! that was resumed has one file for each start. A resumed file begins with a session start, at which `TensorBoard` forgets
//! later steps of earlier files: those are done again.
//!
//! The framing is `TensorFlow`'s `record_writer`, the messages are its `event.proto` and `summary.proto`.

use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bioinstruct_core::run_directory::create_private_directory;

/// An event file that grows.
#[derive(Debug)]
pub struct Events {
    file: fs_err::File,
}

impl Events {
    /// A new file in `directory` for a process that begins after `done` steps.
    pub fn create(directory: &Path, done: usize) -> std::io::Result<Self> {
        create_private_directory(directory)?;
        let name = |number: usize| format!("events.out.tfevents.{number:06}.bioinstruct");
        let taken = |number: &usize| directory.join(name(*number)).exists();
        let number = (0..usize::MAX).find(|number| !taken(number)).unwrap_or_default();
        let file = fs_err::OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(directory.join(name(number)))?;
        let mut events = Self { file };
        events.write(&version_event(wall_time()))?;
        if number > 0 {
            events.write(&session_start_event(wall_time(), done as i64 + 1))?;
        }
        Ok(events)
    }

    /// Appends values of one step.
    pub fn scalars(&mut self, step: usize, values: &[(&str, f64)]) -> std::io::Result<()> {
        let time = wall_time();
        for (tag, value) in values {
            self.write(&scalar_event(time, step as i64, tag, *value as f32))?;
        }
        Ok(())
    }

    /// One write for each record: a kill cuts at most the last one off.
    fn write(&mut self, event: &[u8]) -> std::io::Result<()> {
        self.file.write_all(&record(event))
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A `TFRecord`: length, its checksum, the data, their checksum; all numbers little-endian.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend(length);
    record.extend(masked_checksum(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_checksum(data).to_le_bytes());
    record
}

/// CRC-32C, turned and shifted so that a checksum of data with checksums in them is sound.
fn masked_checksum(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// Castagnoli's polynomial, reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |mut sum, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0x82F6_3B78 & (sum & 1).wrapping_neg());
        }
        sum
    })
}

/// `Event { wall_time = 1, file_version = 3 }`.
fn version_event(time: f64) -> Vec<u8> {
    let mut event = double(1, time);
    event.extend(bytes(3, b"brain.Event:2"));
    event
}

/// `Event { wall_time = 1, step = 2, session_log = 7 { status = 1: START } }`.
fn session_start_event(time: f64, step: i64) -> Vec<u8> {
    let mut event = double(1, time);
    event.extend(integer(2, step));
    event.extend(bytes(7, &integer(1, 1)));
    event
}

/// `Event { wall_time = 1, step = 2, summary = 5 { value = 1 { tag = 1, simple_value = 2 } } }`.
fn scalar_event(time: f64, step: i64, tag: &str, value: f32) -> Vec<u8> {
    let mut scalar = bytes(1, tag.as_bytes());
    scalar.push(2 << 3 | 5);
    scalar.extend(value.to_le_bytes());
    let mut event = double(1, time);
    event.extend(integer(2, step));
    event.extend(bytes(5, &bytes(1, &scalar)));
    event
}

fn double(field: u8, value: f64) -> Vec<u8> {
    let mut out = vec![field << 3 | 1];
    out.extend(value.to_le_bytes());
    out
}

/// Zero is the default and not written.
fn integer(field: u8, value: i64) -> Vec<u8> {
    if value == 0 {
        return Vec::new();
    }
    let mut out = vec![field << 3];
    out.extend(varint(value as u64));
    out
}

fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    out.extend(varint(value.len() as u64));
    out.extend(value);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
    }

    /// The bytes that `TensorBoard`'s own writer gives: `tests/goldens/train/make_events.py`.
    #[test]
    fn records_are_tensorboards() {
        let golden = include_bytes!("../../../../tests/goldens/train/events.tfevents");
        let mut ours = record(&version_event(1_700_000_000.25));
        for (step, value) in [(0, 2.5), (1, -0.0), (127, 1e-30), (128, f32::MAX), (300_000, 1.0)] {
            let time = 1_700_000_000.0 + step as f64;
            ours.extend(record(&scalar_event(time, step, "loss/train", value)));
        }
        ours.extend(record(&session_start_event(1_700_000_001.5, 21)));
        assert!(ours == golden, "{} bytes, TensorBoard has {}", ours.len(), golden.len());
    }

    #[test]
    fn each_start_has_its_own_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tensorboard");
        Events::create(&path, 0).unwrap().scalars(1, &[("lr", 0.5), ("loss/train", 2.0)]).unwrap();
        Events::create(&path, 20).unwrap();
        let length = |number: u32| {
            let name = format!("events.out.tfevents.{number:06}.bioinstruct");
            fs_err::metadata(path.join(name)).unwrap().len()
        };
        let (version, start) = (version_event(0.0).len() + 16, session_start_event(0.0, 21).len());
        let scalar = |tag: &str| scalar_event(0.0, 1, tag, 0.0).len() + 16;
        assert_eq!(length(0) as usize, version + scalar("lr") + scalar("loss/train"));
        assert_eq!(length(1) as usize, version + start + 16);
    }
}
