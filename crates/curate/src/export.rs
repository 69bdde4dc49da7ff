//! A dataset in the formats of other programs, beside its own files: [`Export`], asked for with `curate --export`.

use bioinstruct_core::record::Instruction;
use bioinstruct_data::rows::{Format, Packing, write_rows};

use crate::CurateError;

/// The directory of the files in a dataset's.
pub const DIRECTORY: &str = "export";

/// One format, packed or not.
#[derive(Debug, Clone, Copy)]
pub struct Export {
    format: Format,
    packing: Option<Packing>,
}

impl Export {
    /// Reads `NAME`, `NAME.gz` or `NAME.zst`.
    ///
    /// # Errors
    /// When there is no such format.
    pub fn named(text: &str) -> Result<Self, CurateError> {
        let (name, packing) = match text.rsplit_once('.') {
            Some((name, "gz")) => (name, Some(Packing::Gzip)),
            Some((name, "zst")) => (name, Some(Packing::Zstandard)),
            _ => (text, None),
        };
        let format = Format::named(name).ok_or_else(|| {
            let known: Vec<&str> = Format::ALL.iter().map(|format| format.name).collect();
            let reason = format!(
                "`{text}` is none of {}, with `.gz` or `.zst` if you like",
                known.join(", ")
            );
            CurateError::Setting { key: "export", reason }
        })?;
        Ok(Self { format, packing })
    }

    /// The file of one side: `export/train.alpaca.json`, `export/dev.parquet`, `export/train.jsonl.gz`.
    pub fn file(&self, side: &str) -> String {
        let ending = match self.format.name {
            "alpaca" => "alpaca.json",
            "messages" => "messages.jsonl",
            "sharegpt" => "sharegpt.json",
            other => other,
        };
        let packed = match self.packing {
            None => "",
            Some(Packing::Gzip) => ".gz",
            Some(Packing::Zstandard) => ".zst",
        };
        format!("{DIRECTORY}/{side}.{ending}{packed}")
    }

    /// Writes the rows of one side.
    pub fn write(&self, out: &mut dyn std::io::Write, rows: &[Instruction]) -> std::io::Result<()> {
        write_rows(out, self.format, self.packing, rows)
    }
}
