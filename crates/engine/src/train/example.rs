//! From rows to token ids with their loss mask: an [`Encoder`] makes [`Examples`]. Labels come from joining token ids,
//! never from searching text.
//!
//! What cannot go wrong here: the answer's tokens are the learned ones, whatever stands around them; the token that ends a
//! reply is learned with it, or the run is refused; an answer is never cut; a row that is left out is named.

use std::borrow::Cow;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::template::{ChatTemplate, InstructionTemplate, Segment};

use super::config::{LossOn, Overlong, TrainConfig};
use crate::error::EngineError;
use crate::local::encode_rendered;
use crate::model::training::Batch;
use crate::tokenizer::Tokenizer;

/// One row as the model sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row's id.
    pub id: String,
    /// Its tokens.
    pub ids: Vec<u32>,
    /// Whether the loss covers each token; never the first, which nothing predicts.
    pub learned: Vec<bool>,
}

impl Example {
    /// How many tokens the loss covers.
    pub fn labels(&self) -> usize {
        self.learned.iter().filter(|learned| **learned).count()
    }

    /// The first `most` tokens.
    pub(super) fn beginning(&self, most: usize) -> Self {
        let length = self.ids.len().min(most);
        let (ids, learned) = (self.ids[..length].to_vec(), self.learned[..length].to_vec());
        Self { id: self.id.clone(), ids, learned }
    }

    /// Rows that are computed together: what they begin with once, or where each row has noise of its own, all apart.
    pub(super) fn batch(examples: &[&Self], noisy: bool) -> Batch {
        let pairs = examples.iter().map(|example| (&example.ids[..], &example.learned[..]));
        if !noisy {
            return Batch::sharing(pairs);
        }
        let mut batch = Batch::default();
        pairs.for_each(|(ids, learned)| batch.push(ids, learned));
        batch
    }
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitted {
    /// It is learned as it stands.
    Whole(Example),
    /// It is learned with the end of its input cut off.
    Shortened {
        /// What is left.
        example: Example,
        /// Its tokens before.
        tokens: usize,
    },
    /// It is too long and left out.
    Overlong {
        /// The row that was too long.
        example: Example,
    },
    /// It has no answer and is left out.
    Unlabelled {
        /// The row without an answer.
        example: Example,
    },
}

/// The examples of a set of rows, and the rows that became none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Examples {
    /// In the order of the rows.
    pub examples: Vec<Example>,
    /// The row that each example was made of.
    pub rows: Vec<usize>,
    /// Ids of rows that are longer than the cutoff and left out, with their lengths.
    pub overlong: Vec<(String, usize)>,
    /// Ids of rows whose input was cut, with their lengths before.
    pub shortened: Vec<(String, usize)>,
    /// Ids of rows without an answer, which are left out.
    pub unlabelled: Vec<String>,
}

impl Examples {
    /// The hash of all ids and masks: a run is continued only on the same examples.
    pub fn digest(&self) -> ContentHash {
        let parts: Vec<Vec<u8>> = self
            .examples
            .iter()
            .map(|example| {
                let ids = example.ids.iter().flat_map(|id| id.to_le_bytes());
                ids.chain(example.learned.iter().map(|learned| u8::from(*learned))).collect()
            })
            .collect();
        ContentHash::of_parts(parts.iter().map(Vec::as_slice))
    }
}

/// How rows become examples.
#[derive(Debug)]
pub struct Encoder<'a> {
    template: InstructionTemplate,
    chat: Option<&'a ChatTemplate>,
    tokenizer: &'a Tokenizer,
    ends: &'a [u32],
    loss: LossOn,
    overlong: Overlong,
    cutoff: usize,
    max_unlabelled: usize,
}

impl<'a> Encoder<'a> {
    /// `ends` are the tokens that end a reply of the model; `context` is the most that it can take.
    pub fn new(
        config: &TrainConfig,
        chat: Option<&'a ChatTemplate>,
        tokenizer: &'a Tokenizer,
        ends: &'a [u32],
        context: usize,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            template: InstructionTemplate::load(&config.template)?,
            chat,
            tokenizer,
            ends,
            loss: config.loss,
            overlong: config.overlong,
            cutoff: if config.cutoff == 0 { context } else { config.cutoff.min(context) },
            max_unlabelled: config.max_unlabelled,
        })
    }

    /// Most tokens of an example.
    pub fn cutoff(&self) -> usize {
        self.cutoff
    }

    /// Renders and tokenizes one row, whatever its length. An example without an answer has at most its end learned.
    pub fn example(&self, row: &Instruction) -> Result<Example, EngineError> {
        self.encode(row).map(|(example, _)| example)
    }

    /// The example, and whether any of an answer is in it.
    fn encode(&self, row: &Instruction) -> Result<(Example, bool), EngineError> {
        let rendered = self.template.example(row, self.chat).map_err(|error| match error {
            error @ bioinstruct_core::template::TemplateError::NoPlace { .. } => {
                EngineError::Row { id: row.id.clone(), reason: error.to_string() }
            }
            other => other.into(),
        })?;
        let has_answer = rendered.segments.iter().any(|segment| {
            matches!(segment, Segment::Text { text, learned: true } if !text.trim().is_empty())
        });
        let tokens = encode_rendered(self.tokenizer, &rendered);
        let (ids, mut learned): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
        self.check_end(&ids, &learned)?;
        if self.loss == LossOn::All {
            learned.fill(true);
        }
        if let Some(first) = learned.first_mut() {
            *first = false;
        }
        Ok((Example { id: row.id.clone(), ids, learned }, has_answer))
    }

    /// An answer that does not end with a token that ends the model's replies would teach it never to stop.
    fn check_end(&self, ids: &[u32], learned: &[bool]) -> Result<(), EngineError> {
        let last = ids.last().filter(|_| learned.last() == Some(&true));
        if last.is_some_and(|last| self.ends.contains(last)) {
            return Ok(());
        }
        let reason = if self.ends.is_empty() {
            "the model has no token that ends a reply, so it could not learn to stop".to_owned()
        } else {
            let found = last.map(|id| String::from_utf8_lossy(self.tokenizer.token_bytes(*id)));
            let found = found.unwrap_or(Cow::Borrowed(""));
            format!(
                "`{}` ends an answer with `{found}`, which does not end this model's replies; use `bioinstruct`",
                self.template.name()
            )
        };
        Err(EngineError::Setting { setting: "train.template", reason })
    }

    /// What becomes of one row under the cutoff.
    pub fn fit(&self, row: &Instruction) -> Result<Fitted, EngineError> {
        let (example, has_answer) = self.encode(row)?;
        if !has_answer {
            return Ok(Fitted::Unlabelled { example });
        }
        let tokens = example.ids.len();
        if tokens <= self.cutoff {
            return Ok(Fitted::Whole(example));
        }
        match self.overlong {
            Overlong::Drop => Ok(Fitted::Overlong { example }),
            Overlong::TruncateInput => Ok(match self.shortened(row)? {
                Some(example) => Fitted::Shortened { example, tokens },
                None => Fitted::Overlong { example },
            }),
            Overlong::Error => Err(EngineError::Row {
                id: example.id,
                reason: format!("has {tokens} tokens, the cutoff is {}", self.cutoff),
            }),
        }
    }

    /// The row with as much of its input's beginning as fits; nothing where not even one character of it does.
    fn shortened(&self, row: &Instruction) -> Result<Option<Example>, EngineError> {
        let ends: Vec<usize> = row.input.char_indices().map(|(at, _)| at).skip(1).collect();
        let mut cut = row.clone();
        let mut with_end = |end: usize| -> Result<Example, EngineError> {
            row.input[..end].clone_into(&mut cut.input);
            self.example(&cut)
        };
        // The longest beginning by bisection; a longer text may have fewer tokens, so what is found is looked at again.
        let (mut fits, mut too_long) = (0, ends.len());
        while fits < too_long {
            let middle = fits + (too_long - fits) / 2;
            if with_end(ends[middle])?.ids.len() <= self.cutoff {
                fits = middle + 1;
            } else {
                too_long = middle;
            }
        }
        for end in ends[..fits].iter().rev() {
            let example = with_end(*end)?;
            if example.ids.len() <= self.cutoff {
                return Ok(Some(example));
            }
        }
        Ok(None)
    }

    /// All rows, on `threads` threads (zero: on every processor); the result does not depend on their number.
    pub fn examples(&self, rows: &[Instruction], threads: usize) -> Result<Examples, EngineError> {
        let mut found = Examples::default();
        for (row, fitted) in self.fit_all(rows, threads).into_iter().enumerate() {
            let example = match fitted? {
                Fitted::Whole(example) => example,
                Fitted::Shortened { example, tokens } => {
                    found.shortened.push((example.id.clone(), tokens));
                    example
                }
                Fitted::Overlong { example } => {
                    found.overlong.push((example.id, example.ids.len()));
                    continue;
                }
                Fitted::Unlabelled { example } => {
                    found.unlabelled.push(example.id);
                    continue;
                }
            };
            found.examples.push(example);
            found.rows.push(row);
        }
        if found.unlabelled.len() > self.max_unlabelled {
            let (count, most) = (found.unlabelled.len(), self.max_unlabelled);
            return Err(EngineError::Unlabelled { count, most, first: found.unlabelled.remove(0) });
        }
        Ok(found)
    }

    /// What becomes of each row, as [`Self::fit`] says.
    pub fn fit_all(
        &self,
        rows: &[Instruction],
        threads: usize,
    ) -> Vec<Result<Fitted, EngineError>> {
        /// Fewer rows are not worth a thread.
        const LEAST: usize = 32;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if threads == 0 { processors } else { threads };
        let share = rows.len().div_ceil(threads).max(LEAST);
        let fit =
            |rows: &[Instruction]| -> Vec<_> { rows.iter().map(|row| self.fit(row)).collect() };
        std::thread::scope(|scope| {
            let parts: Vec<_> =
                rows.chunks(share).map(|rows| scope.spawn(move || fit(rows))).collect();
            // A panic in a thread is one here.
            parts
                .into_iter()
                .flat_map(|part| {
                    part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        })
    }
}
