//! Packed files: [`Packing`] unpacks gzip and Zstandard as a stream and packs in memory, without any C.
//!
//! Files of several members or frames are read to their end; a checksum that is there is compared.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstandard,
}

impl fmt::Display for Packing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstandard => "Zstandard",
        })
    }
}

impl Packing {
    /// By the first bytes of a file.
    pub fn of(start: &[u8]) -> Option<Self> {
        match start {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
                Some(Self::Zstandard)
            }
            _ => None,
        }
    }

    /// By the ending of a name, which is taken off.
    pub fn of_name(path: &Path) -> (PathBuf, Option<Self>) {
        let packing = match path.extension().and_then(|ending| ending.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zst" | "zstd") => Self::Zstandard,
            _ => return (path.to_owned(), None),
        };
        (path.with_extension(""), Some(packing))
    }

    /// What is in the file, as a stream.
    pub(super) fn reader<'a>(self, packed: impl BufRead + Send + 'a) -> Box<dyn Read + Send + 'a> {
        match self {
            Self::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Self::Zstandard => {
                Box::new(Frames { packed, decoder: FrameDecoder::new(), open: false })
            }
        }
    }

    /// The packed form of `bytes`: the same bytes each time.
    pub(super) fn write(self, out: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Gzip => {
                let mut packed = GzBuilder::new().write(out, Compression::default());
                packed.write_all(bytes)?;
                packed.finish().map(|_| ())
            }
            Self::Zstandard => out.write_all(&compress_to_vec(bytes, CompressionLevel::Fastest)),
        }
    }
}

/// The frames of a Zstandard file, one after another.
struct Frames<R> {
    packed: R,
    decoder: FrameDecoder,
    /// Whether a frame was begun and its end not yet checked.
    open: bool,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if self.open && self.decoder.is_finished() {
                self.open = false;
                let (told, found) =
                    (self.decoder.get_checksum_from_data(), self.decoder.get_calculated_checksum());
                if told.is_some() && told != found {
                    return Err(io::Error::other("the checksum does not fit the data"));
                }
            }
            if !self.open {
                if self.packed.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                self.begin_frame()?;
                continue;
            }
            self.decoder
                .decode_blocks(&mut self.packed, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(io::Error::other)?;
        }
        self.decoder.read(buffer)
    }
}

impl<R: BufRead> Frames<R> {
    /// Begins the next frame, or passes one that holds no data.
    fn begin_frame(&mut self) -> io::Result<()> {
        match self.decoder.reset(&mut self.packed) {
            Ok(()) => {
                self.open = true;
                Ok(())
            }
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length,
                ..
            })) => {
                let length = u64::from(length);
                let passed = io::copy(&mut (&mut self.packed).take(length), &mut io::sink())?;
                if passed < length {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(())
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }
}
