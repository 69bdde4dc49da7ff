//! What a run works on, read and tokenized before the weights are loaded: [`Prepared`].

use bioinstruct_engine::format::ModelFile;
use bioinstruct_engine::local::{chat_template, end_ids};
use bioinstruct_engine::model::context_length;
use bioinstruct_engine::tokenizer::Tokenizer;
use bioinstruct_engine::train::example::Encoder;

use super::Job;
use super::fit::Rows;
use crate::console::Console;
use crate::model;
use crate::training_data::{Encoded, TrainingData};

/// A model's file with its tokenizer, and the rows in its tokens.
pub(crate) struct Prepared {
    /// The opened file.
    pub(crate) file: ModelFile,
    /// Its tokenizer.
    pub(super) tokenizer: Tokenizer,
    /// To learn from and to watch.
    pub(super) encoded: Encoded,
}

impl Prepared {
    /// Reads everything that the job names.
    pub(crate) fn read(job: &Job<'_>, console: &Console) -> anyhow::Result<Self> {
        let config = job.config;
        config.train.check()?;
        let data = TrainingData::read(job.data, job.dev, &config.train, config.seed)?;
        let resolved = model::resolve(job.model, job.offline, console)?;
        Self::encode(job, ModelFile::open(&resolved.path)?, &data, console)
    }

    /// Tokenizes rows that were read, and says which of them are not learned as they stand.
    pub(super) fn encode(
        job: &Job<'_>,
        file: ModelFile,
        data: &TrainingData,
        console: &Console,
    ) -> anyhow::Result<Self> {
        let config = &job.config.train;
        let tokenizer = Tokenizer::for_model(&file)?;
        let chat = chat_template(&tokenizer);
        let ends = end_ids(&tokenizer, file.config());
        let context = context_length(file.config(), 0);
        let encoder = Encoder::new(config, chat.as_ref(), &tokenizer, &ends, context)?;
        let encoded = data.encode(&encoder, config, job.config.threads)?;
        encoded.say(console);
        Ok(Self { file, tokenizer, encoded })
    }

    /// The rows that a run sees.
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows {
            learned: &self.encoded.learned.examples,
            strata: &self.encoded.strata,
            watched: &self.encoded.watched.examples,
        }
    }
}
