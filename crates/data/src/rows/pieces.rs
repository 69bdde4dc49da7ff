//! Cuts a text into the pieces that should each be one row, before anything is parsed, and counts lines: [`Pieces`].
//!
//! A text that begins with `[` is an array, everything else is JSON lines. A piece that cannot be right (too long, not
//! separated, cut off) carries the reason in place of its bytes, and the cutting goes on behind it: a JSON string cannot
//! hold a line break, so a quotation mark too few spoils at most the rest of its line.

use std::io::{self, BufRead};

use super::ROW_LIMIT;

/// One raw row.
pub(super) struct Piece {
    /// Where it begins, counted from one.
    pub(super) line: usize,
    /// Its bytes, or why they were not kept.
    pub(super) content: Result<Vec<u8>, String>,
}

/// The pieces of one text.
pub(super) struct Pieces<R> {
    reader: R,
    line: usize,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Each line is a piece; also what follows after an array.
    Lines,
    /// Behind `[`.
    ArrayStart,
    /// Behind a comma in the array, at this line.
    AfterComma(usize),
    /// Behind an item of the array.
    AfterItem,
}

impl<R: BufRead> Pieces<R> {
    pub(super) fn new(reader: R) -> io::Result<Self> {
        let mut pieces = Self { reader, line: 1, place: Place::Lines };
        pieces.skip_byte_order_mark()?;
        if pieces.skip_space()? == Some(b'[') {
            pieces.bump()?;
            pieces.place = Place::ArrayStart;
        }
        Ok(pieces)
    }

    /// The next piece, or `None` at the end of the text.
    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        if self.place == Place::Lines {
            return self.next_line();
        }
        let Some(byte) = self.skip_space()? else {
            self.place = Place::Lines;
            return Ok(Some(self.bad("the array has no end: the file seems to be cut off")));
        };
        match (byte, self.place) {
            (b']', place) => {
                self.bump()?;
                self.place = Place::Lines;
                match place {
                    Place::AfterComma(line) => Ok(Some(Piece {
                        line,
                        content: Err("there is no row behind the comma".to_owned()),
                    })),
                    _ => self.next_line(),
                }
            }
            (b',', Place::AfterItem) => {
                self.place = Place::AfterComma(self.line);
                self.bump()?;
                self.next_piece()
            }
            (b',', _) => {
                let piece = self.bad("there is no row before the comma");
                self.place = Place::AfterComma(self.line);
                self.bump()?;
                Ok(Some(piece))
            }
            (_, place) => {
                self.place = Place::AfterItem;
                let mut piece = self.item()?;
                if place == Place::AfterItem {
                    piece.content = Err("there is no comma before this row".to_owned());
                }
                Ok(Some(piece))
            }
        }
    }

    fn bad(&self, reason: &str) -> Piece {
        Piece { line: self.line, content: Err(reason.to_owned()) }
    }

    /// The next line that is not blank, without its end.
    fn next_line(&mut self) -> io::Result<Option<Piece>> {
        while self.peek()?.is_some() {
            let line = self.line;
            let mut row = Bounded::default();
            let mut ended = false;
            while !ended {
                let bytes = self.reader.fill_buf()?;
                let length = memchr::memchr(b'\n', bytes);
                row.extend(&bytes[..length.unwrap_or(bytes.len())]);
                ended = length.is_some() || bytes.is_empty();
                let used = length.map_or(bytes.len(), |length| length + 1);
                self.reader.consume(used);
                self.line += usize::from(length.is_some());
            }
            if !row.is_blank() {
                let content = row.finish();
                return Ok(Some(Piece { line, content }));
            }
        }
        Ok(None)
    }

    /// One value of the array, from its first byte to the one that ends it.
    fn item(&mut self) -> io::Result<Piece> {
        let line = self.line;
        let mut row = Bounded::default();
        let mut depth = 0usize;
        let mut in_string = false;
        let mut escaped = false;
        while let Some(byte) = self.peek()? {
            if depth == 0 && !in_string && !row.is_blank() && b",] \t\r\n".contains(&byte) {
                break;
            }
            self.bump()?;
            row.push(byte);
            if in_string {
                in_string = byte != b'\n' && (escaped || byte != b'"');
                escaped = !escaped && byte == b'\\';
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            if depth == 0 && !in_string && b"}]\"".contains(&byte) {
                break;
            }
        }
        let content = if depth > 0 || in_string {
            self.place = Place::Lines; // the end of the text: that the array has no end either goes without saying
            Err("this row has no end".to_owned())
        } else {
            row.finish()
        };
        Ok(Piece { line, content })
    }

    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    fn bump(&mut self) -> io::Result<()> {
        if self.peek()? == Some(b'\n') {
            self.line += 1;
        }
        self.reader.consume(1);
        Ok(())
    }

    /// The next byte that is not white space, left unread.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.peek()? {
                Some(byte) if byte.is_ascii_whitespace() => self.bump()?,
                other => return Ok(other),
            }
        }
    }

    /// UTF-8's optional mark at the start of a file; part of one is left to be found wrong.
    fn skip_byte_order_mark(&mut self) -> io::Result<()> {
        if self.reader.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            self.reader.consume(3);
        }
        Ok(())
    }
}

/// Bytes of one piece; what is over [`ROW_LIMIT`] is counted and dropped.
#[derive(Default)]
pub(super) struct Bounded {
    bytes: Vec<u8>,
    dropped: usize,
}

impl Bounded {
    pub(super) fn push(&mut self, byte: u8) {
        if self.bytes.len() < ROW_LIMIT {
            self.bytes.push(byte);
        } else {
            self.dropped += 1;
        }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let room = (ROW_LIMIT - self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        self.dropped += bytes.len() - room;
    }

    pub(super) fn is_blank(&self) -> bool {
        self.dropped == 0 && self.bytes.iter().all(u8::is_ascii_whitespace)
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, String> {
        if self.dropped > 0 {
            let length = self.bytes.len() + self.dropped;
            return Err(format!("has {length} bytes; a row may have {ROW_LIMIT}"));
        }
        Ok(self.bytes)
    }
}
