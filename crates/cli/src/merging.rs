//! What `merge` and `export` share: base and adapter, what must be said with the result, and the comparison that lets it out.

use std::path::{Path, PathBuf};

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::hash::ContentHash;
use bioinstruct_engine::backend::Cpu;
use bioinstruct_engine::format::{DataType, ModelFile};
use bioinstruct_engine::merge::difference::{Difference, probe_ids, probe_logits};
use bioinstruct_engine::peft::{self, StoredAdapter};
use bioinstruct_engine::tokenizer::Tokenizer;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::arguments::Globals;
use crate::config::Config;
use crate::console::Console;
use crate::failure;
use crate::model::{self, AdapterCard};

/// What stands beside a merged model in `bioinstruct.json`, and under `bioinstruct.*` in a GGUF file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MergedCard {
    /// The base, as it was named.
    pub(crate) base_name: String,
    /// SHA-256 of the base's weights.
    pub(crate) base: String,
    /// Hash of the adapter's files; none: the base alone.
    pub(crate) adapter: Option<String>,
    /// The instruction template that the adapter was tuned under, where it says.
    pub(crate) template: Option<String>,
    /// Whether text under a data-use agreement went in.
    pub(crate) restricted: bool,
    /// How the result is stored.
    pub(crate) stored: String,
    /// The line that every use must carry.
    pub(crate) notice: String,
}

impl MergedCard {
    /// The file's name in a folder.
    pub(crate) const FILE: &str = "bioinstruct.json";
}

/// An opened base, its adapter, and the threads to work with.
pub(crate) struct Ingredients<'a> {
    pub(crate) file: ModelFile,
    pub(crate) backend: Cpu,
    pub(crate) adapter: Option<StoredAdapter>,
    adapter_directory: Option<&'a Path>,
    source: &'a str,
    tuned: Option<AdapterCard>,
    threads: usize,
}

impl<'a> Ingredients<'a> {
    /// Opens both; an adapter that was tuned on another base is refused.
    pub(crate) fn open(
        source: &'a str,
        adapter: Option<&'a Path>,
        config: &Config,
        globals: &Globals,
        console: &Console,
    ) -> anyhow::Result<Self> {
        let tuned = adapter.map(AdapterCard::read).transpose()?.flatten();
        let resolved = model::resolve(source, globals.offline, console)?;
        let file = ModelFile::open(&resolved.path)?;
        let backend = Cpu::new(config.threads)?;
        let loaded = adapter.map(|directory| peft::read(file.config(), directory)).transpose()?;
        let ingredients = Self {
            file,
            backend,
            adapter: loaded,
            adapter_directory: adapter,
            source,
            tuned,
            threads: config.threads,
        };
        ingredients.check_base()?;
        Ok(ingredients)
    }

    fn check_base(&self) -> anyhow::Result<()> {
        let Some(card) = &self.tuned else { return Ok(()) };
        if card.base == model::hexadecimal(&self.file.weights_hash()?) {
            return Ok(());
        }
        Err(failure::data(
            format!("the adapter was tuned on another base than {}", self.source),
            "name the base that it was tuned on with `--model`",
        ))
    }

    /// What must be said with the result.
    pub(crate) fn card(&self, stored: &str) -> anyhow::Result<MergedCard> {
        let restricted = self.tuned.as_ref().is_some_and(|card| card.restricted);
        Ok(MergedCard {
            base_name: model::short_name(self.source),
            base: model::hexadecimal(&self.file.weights_hash()?),
            adapter: self.adapter.as_ref().map(|loaded| loaded.digest.to_string()),
            template: self.tuned.as_ref().map(|card| card.template.clone()),
            restricted: restricted || base_is_restricted(&self.file)?,
            stored: stored.to_owned(),
            notice: NOT_FOR_PATIENT_CARE.to_owned(),
        })
    }

    /// The name of the result: the base's, and that there is an adapter in it.
    pub(crate) fn name(&self) -> String {
        let base = model::short_name(self.source);
        match &self.adapter {
            Some(loaded) => format!("{base}-tuned-{}", short(&loaded.digest)),
            None => base,
        }
    }

    /// Compares the result at `path` with base and adapter on probe prompts, says so, and refuses one that is too far off.
    pub(crate) fn compare(
        &self,
        path: &Path,
        data_type: DataType,
        allowed: f64,
        console: &Console,
    ) -> anyhow::Result<Value> {
        let probes = probe_ids(&Tokenizer::for_model(&self.file)?);
        let before = probe_logits(
            &self.file,
            Cpu::in_32_bits(self.threads)?,
            self.adapter_directory,
            &probes,
        )?;
        let result = ModelFile::open(path)?;
        let after = probe_logits(&result, Cpu::in_32_bits(self.threads)?, None, &probes)?;
        let found = Difference::between(&before, &after, self.file.config().vocabulary_size);
        let bound = if allowed > 0.0 { allowed } else { Difference::bound(data_type) };
        console.say(&format!(
            "logits on {} positions of probe prompts: relative difference {:.5} (allowed {bound}), largest {:.4}, \
             the same first token on {}",
            found.positions, found.relative, found.largest, found.same_first
        ));
        if found.relative.is_nan() || found.relative > bound {
            return Err(failure::data(
                format!(
                    "the result differs from base and adapter by {:.5}, above {bound}",
                    found.relative
                ),
                "store it in more bits, or allow more with `--set merge.max_difference=X`",
            ));
        }
        Ok(json!({
            "positions": found.positions, "relative": found.relative, "largest": found.largest,
            "same_first_token": found.same_first, "allowed": bound,
        }))
    }
}

fn short(digest: &ContentHash) -> String {
    digest.as_str().chars().take(8).collect()
}

/// Whether the base is itself a merged model with restricted text in it.
fn base_is_restricted(file: &ModelFile) -> anyhow::Result<bool> {
    if let Some(gguf) = file.gguf() {
        return Ok(gguf.text("bioinstruct.restricted")? == Some("true"));
    }
    let path = file.path().join(MergedCard::FILE);
    if !path.is_file() {
        return Ok(false);
    }
    let card: MergedCard =
        serde_json::from_str(&fs_err::read_to_string(&path)?).map_err(|error| {
            failure::data(
                format!("{}: {error}", path.display()),
                "the file belongs to the model; restore it",
            )
        })?;
    Ok(card.restricted)
}

/// A name beside `path` for what is not finished; an `--out` that exists is refused.
pub(crate) fn unfinished(path: &Path) -> anyhow::Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(failure::usage(
            format!("--out: {} has no name", path.display()),
            "name a new file or folder",
        ));
    };
    if path.exists() {
        return Err(failure::usage(
            format!("--out: {} is there already", path.display()),
            "name a new file or folder, or take the old one away",
        ));
    }
    Ok(path.with_file_name(format!(".{}.{}.new", name.to_string_lossy(), std::process::id())))
}

/// Gives the finished result its name and syncs its folder.
pub(crate) fn publish(unfinished: &Path, path: &Path) -> anyhow::Result<()> {
    if unfinished.is_dir() {
        fs_err::File::open(unfinished)?.sync_all()?;
    }
    fs_err::rename(unfinished, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs_err::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

/// The model card, `README.md` of a merged folder.
pub(crate) fn model_card(card: &MergedCard, difference: &Value) -> String {
    let template = card.template.as_deref().unwrap_or("not recorded");
    let restricted = if card.restricted {
        "\n**Restricted: text under a data-use agreement went into the adapter. The agreement covers this model too: do \
         not pass it on.**\n"
    } else {
        ""
    };
    format!(
        "---\ntags:\n- bioinstruct\n- lora-merged\n---\n\n# {base} with an adapter merged in\n\n{notice}\n{restricted}\n\
         - base: {base}, weights {hash}\n- adapter: {adapter}\n- stored as: {stored}\n- instruction template of the tuning: \
         {template}; the chat template is the base's\n- logits on probe prompts differ from base and adapter by \
         {relative} (root mean square, relative)\n\nThe difference of the adapter was added in 64 bits.\n",
        base = card.base_name,
        notice = card.notice,
        hash = card.base,
        adapter = card.adapter.as_deref().unwrap_or("none"),
        stored = card.stored,
        relative = difference["relative"],
    )
}
