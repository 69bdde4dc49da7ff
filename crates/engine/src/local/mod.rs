//! A model on this machine: [`LocalModel`] joins network, tokenizer, chat template and adapters, writes text as a
//! [`ChatModel`](bioinstruct_core::model::ChatModel) and scores text as a [`Scorer`](bioinstruct_core::model::Scorer).
//!
//! A reply and a score are the same bits whatever else runs beside them, in any order, on any number of threads.

mod chat;
mod encode;
mod error;
mod job;
mod memory;
mod pair;
mod reading;
mod score;
mod sequence;
mod timing;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::model::{ModelIdentity, Prompt};
use bioinstruct_core::template::{ChatTemplate, InstructionTemplate, Rendered, TemplateError};

pub use encode::encode_rendered;
pub use error::LocalError;
pub use timing::Timing;

use self::memory::Memory;
use crate::backend::{Backend, Cpu};
use crate::format::{ModelConfig, ModelFile};
use crate::kernels::lanes::Precision;
use crate::lora::Adapter;
use crate::model::inference::Workspace;
use crate::model::{Llama, LoadOptions};
use crate::peft::{self, LoadedAdapter};
use crate::sample::SchemaCompiler;
use crate::tokenizer::Tokenizer;

/// How a model is loaded and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalOptions {
    /// How weights are kept.
    pub precision: Precision,
    /// Threads that compute; zero takes all processors.
    pub threads: usize,
    /// Most positions of a sequence; zero takes what the model was made for.
    pub positions: usize,
    /// Most replies that are written at once; at least 1.
    pub slots: usize,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self { precision: Precision::Bf16, threads: 0, positions: 0, slots: 8 }
    }
}

/// A model with its tokenizer and any number of adapters.
pub struct LocalModel<B: Backend = Cpu> {
    llama: Llama<B>,
    tokenizer: Arc<Tokenizer>,
    chat_template: Option<ChatTemplate>,
    /// Tokens that end a reply, ascending.
    ends: Vec<u32>,
    adapters: BTreeMap<String, LoadedAdapter<B>>,
    name: String,
    slots: usize,
    work: Workspace<B>,
    memory: Memory<B>,
    schemas: Option<SchemaCompiler>,
    timing: Timing,
}

impl LocalModel<Cpu> {
    /// Loads a GGUF file or a Hugging Face folder onto the processor.
    ///
    /// # Errors
    /// [`LocalError`]: the files are broken, do not belong together, or ask for what the engine does not compute.
    pub fn load(path: &Path, options: LocalOptions) -> Result<Self, LocalError> {
        let backend = Cpu::new(options.threads)?;
        Self::load_on(backend, path, options)
    }
}

impl<B: Backend> LocalModel<B> {
    /// Loads a GGUF file or a Hugging Face folder onto a device, whose threads `options` do not touch.
    ///
    /// # Errors
    /// As [`LocalModel::load`].
    pub fn load_on(backend: B, path: &Path, options: LocalOptions) -> Result<Self, LocalError> {
        let file = ModelFile::open(path)?;
        let tokenizer = Tokenizer::for_model(&file)?;
        Self::from_parts(backend, &file, tokenizer, options)
    }

    /// Puts an opened model onto a device, with a tokenizer that was read from it.
    ///
    /// # Errors
    /// As [`LocalModel::load`].
    pub fn from_parts(
        backend: B,
        file: &ModelFile,
        tokenizer: Tokenizer,
        options: LocalOptions,
    ) -> Result<Self, LocalError> {
        if options.slots == 0 {
            return Err(LocalError::NoSlots);
        }
        let path = file.path();
        let (tokens, rows) = (tokenizer.vocabulary_size(), file.config().vocabulary_size);
        if tokens > rows {
            return Err(LocalError::Vocabulary { path: path.to_owned(), tokens, rows });
        }
        let LocalOptions { precision, positions, slots, .. } = options;
        let llama = Llama::load(file, backend, LoadOptions { precision, positions })?;
        let ends = end_ids(&tokenizer, llama.config());
        Ok(Self {
            work: Workspace::new(llama.backend()),
            chat_template: chat_template(&tokenizer),
            tokenizer: Arc::new(tokenizer),
            llama,
            ends,
            adapters: BTreeMap::new(),
            name: name_of(path),
            slots,
            memory: Memory::new(),
            schemas: None,
            timing: Timing::default(),
        })
    }

    /// Calls the model something else than its file, such as the alias the user wrote.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Loads an adapter in PEFT's format; requests name it by `name`. An earlier one of that name is replaced.
    ///
    /// # Errors
    /// The files are broken or do not fit this base.
    pub fn add_adapter(&mut self, name: &str, directory: &Path) -> Result<(), LocalError> {
        let adapter = peft::load(&self.llama, directory)?;
        self.adapters.insert(name.to_owned(), adapter);
        self.memory.forget();
        Ok(())
    }

    /// The names of the loaded adapters, in alphabetical order.
    pub fn adapter_names(&self) -> impl Iterator<Item = &str> {
        self.adapters.keys().map(String::as_str)
    }

    /// The network.
    pub fn llama(&self) -> &Llama<B> {
        &self.llama
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The model's own chat template, when it brings one.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
    }

    /// The tokens that end a reply, ascending.
    pub fn end_ids(&self) -> &[u32] {
        &self.ends
    }

    /// Speeds of the last [`ChatModel::run`](bioinstruct_core::model::ChatModel::run).
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// A prompt as the model will see it, in segments.
    ///
    /// # Errors
    /// [`TemplateError`]: there is no such template, or the model has no chat template.
    pub fn render(&self, prompt: &Prompt) -> Result<Rendered, TemplateError> {
        let chat = self.chat_template.as_ref();
        match prompt {
            Prompt::Text(text) => Ok(Rendered::plain(text)),
            Prompt::Messages(messages) => {
                chat.ok_or(TemplateError::NoChatTemplate)?.prompt(messages)
            }
            Prompt::Instruction { instruction, input, template } => {
                InstructionTemplate::load(template)?.prompt(instruction, input, chat)
            }
        }
    }

    /// A rendered prompt in token ids: see [`encode_rendered`].
    pub fn encode_prompt(&self, rendered: &Rendered) -> Vec<u32> {
        encode_rendered(&self.tokenizer, rendered).into_iter().map(|(id, _)| id).collect()
    }

    /// What answers under this adapter (none: the base). The digest covers weights, adapter, tokenizer, chat template,
    /// precision and kernels: with the same digest, the same request has the same reply to the bit.
    pub fn model_identity(&self, adapter: Option<&str>) -> ModelIdentity {
        let loaded = adapter.map(|name| match self.adapters.get(name) {
            Some(loaded) => loaded.digest.as_str().to_owned(),
            None => format!("{name} is not loaded"),
        });
        let digest = ContentHash::of_parts([
            self.llama.weights_hash().as_slice(),
            loaded.unwrap_or_default().as_bytes(),
            self.tokenizer.identity().as_slice(),
            self.chat_template.as_ref().map_or("", |template| &template.source).as_bytes(),
            self.llama.options().precision.name().as_bytes(),
            self.llama.backend().kernels().as_bytes(),
        ]);
        let name = match adapter {
            Some(adapter) => format!("{}+{adapter}", self.name),
            None => self.name.clone(),
        };
        ModelIdentity { name, digest: digest.as_str().to_owned() }
    }

    /// The adapter of this name, none for the base.
    ///
    /// # Errors
    /// Why there is none.
    fn adapter(&self, name: Option<&str>) -> Result<Option<&Adapter<B>>, String> {
        let Some(name) = name else { return Ok(None) };
        match loaded(&self.adapters, Some(name)) {
            Some(adapter) => Ok(Some(adapter)),
            None => Err(format!("adapter `{name}` is not loaded")),
        }
    }
}

/// The adapter of this name, when it is loaded.
fn loaded<'a, B: Backend>(
    adapters: &'a BTreeMap<String, LoadedAdapter<B>>,
    name: Option<&str>,
) -> Option<&'a Adapter<B>> {
    adapters.get(name?).map(|loaded| &loaded.adapter)
}

/// File or folder name, without the ending of a GGUF file.
fn name_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
    name.strip_suffix(".gguf").unwrap_or(&name).to_owned()
}

/// The tokens that end a reply, ascending: the tokenizer's and the model's.
pub fn end_ids(tokenizer: &Tokenizer, config: &ModelConfig) -> Vec<u32> {
    let mut ends = [tokenizer.eos_ids(), &config.eos_tokens].concat();
    ends.sort_unstable();
    ends.dedup();
    ends
}

/// The chat template that comes with a tokenizer, with the texts of its control tokens; none when it brings none.
pub fn chat_template(tokenizer: &Tokenizer) -> Option<ChatTemplate> {
    let text = |id: Option<u32>| {
        let bytes = id.map(|id| tokenizer.token_bytes(id)).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    };
    Some(ChatTemplate {
        source: tokenizer.chat_template()?.to_owned(),
        bos_token: text(tokenizer.bos()),
        eos_token: text(tokenizer.eos()),
        control_tokens: tokenizer.control_tokens().iter().map(|(text, _)| text.clone()).collect(),
    })
}
