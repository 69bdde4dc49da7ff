//! The model that a verb asks in words, on this machine or at a server: [`open`].

use bioinstruct_core::model::ChatModel;
use bioinstruct_engine::local::{LocalModel, LocalOptions};
use bioinstruct_llm::{OpenAiClient, OpenAiConfig, Secret};

use crate::arguments::AskedModel;
use crate::config::Config;
use crate::console::Console;
use crate::model;

/// What to do where a model is needed and none is named.
pub(crate) const NAME_ONE: &str = "give --model SOURCE, or --base-url URL and --model-name NAME";

impl AskedModel {
    /// Whether flags name a model.
    pub(crate) fn is_named(&self) -> bool {
        self.is_local() || self.base_url.is_some()
    }

    /// Whether it is a model on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.model.is_some()
    }
}

/// The model that flags name, if they name one.
pub(crate) fn open(
    asked: &AskedModel,
    config: &Config,
    offline: bool,
    console: &Console,
) -> anyhow::Result<Option<Box<dyn ChatModel>>> {
    Ok(match (&asked.model, &asked.base_url) {
        (Some(source), _) => Some(Box::new(local(source, config, offline, console)?)),
        (None, Some(url)) => Some(Box::new(server(asked, url, offline)?)),
        (None, None) => None,
    })
}

/// A local model that answers as the configuration says.
pub(crate) fn local(
    source: &str,
    config: &Config,
    offline: bool,
    console: &Console,
) -> anyhow::Result<LocalModel> {
    let resolved = model::resolve(source, offline, console)?;
    let options = LocalOptions {
        precision: config.precision()?,
        threads: config.threads,
        slots: config.eval.slots,
        ..LocalOptions::default()
    };
    Ok(LocalModel::load(&resolved.path, options)?.with_name(&model::short_name(source)))
}

/// A client of the server at `url`; its key comes from the environment.
fn server(asked: &AskedModel, url: &str, offline: bool) -> anyhow::Result<OpenAiClient> {
    let mut config = OpenAiConfig::new(url, asked.model_name.as_deref().unwrap_or_default());
    config.api_key = std::env::var("OPENAI_API_KEY")
        .ok()
        .filter(|key| !key.is_empty())
        .map(|key| Secret::new(&key));
    config.concurrency = asked.concurrency.get();
    asked.allow_remote.clone_into(&mut config.allow_remote);
    config.offline = offline;
    Ok(OpenAiClient::new(config)?)
}
