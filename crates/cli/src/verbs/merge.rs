//! `merge`: base and adapter in, a Hugging Face folder out.

use std::path::Path;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_core::run_directory::{create_private_directory, publish as publish_file};
use bioinstruct_engine::format::DataType;
use bioinstruct_engine::merge::Merged;
use bioinstruct_engine::merge::folder::write_folder;
use serde_json::{Value, json};

use crate::arguments::{Globals, Merge};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::merging::{self, Ingredients, MergedCard};

pub(crate) fn run(verb: &Merge, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let mut flags = Flags::default();
    flags.set("merge.dtype", verb.dtype.clone());
    flags.set("merge.shard_megabytes", verb.shard_megabytes.map(|size| size as i64));
    let config = Config::resolve("", globals, flags)?;
    let data_type = config.merge.data_type()?;
    let unfinished = merging::unfinished(&verb.out)?;
    let parts = Ingredients::open(&verb.model, Some(&verb.adapter), &config, globals, console)?;
    create_private_directory(&unfinished)?;
    let written = write(&parts, &unfinished, data_type, &config, console)
        .and_then(|summary| merging::publish(&unfinished, &verb.out).map(|()| summary));
    if written.is_err() {
        // the error that matters is the one at hand
        let _ = fs_err::remove_dir_all(&unfinished);
    }
    let mut summary = written?;
    summary["out"] = json!(verb.out);
    console.say(&format!("merged model: {}", verb.out.display()));
    console.say(NOT_FOR_PATIENT_CARE);
    console.summary(&summary)
}

/// Everything that the folder holds; it is complete when the comparison has let it pass.
fn write(
    parts: &Ingredients<'_>,
    directory: &Path,
    data_type: DataType,
    config: &Config,
    console: &Console,
) -> anyhow::Result<Value> {
    let merged = Merged::new(&parts.file, &parts.backend, parts.adapter.as_ref());
    let shard_bytes = config.merge.shard_megabytes.max(1).saturating_mul(1_000_000);
    let written = write_folder(&merged, directory, data_type, shard_bytes)?;
    if let Some(reason) = &written.without_tokenizer {
        console.say(&format!(
            "warning: there is no tokenizer.json in the folder: {reason}; put the model's own beside the weights"
        ));
    }
    let difference = parts.compare(directory, data_type, config.merge.max_difference, console)?;
    let card = parts.card(&config.merge.dtype)?;
    publish_file(&directory.join(MergedCard::FILE), |out| {
        serde_json::to_writer_pretty(&mut *out, &card)?;
        out.write_all(b"\n")
    })?;
    let readme = merging::model_card(&card, &difference);
    publish_file(&directory.join("README.md"), |out| out.write_all(readme.as_bytes()))?;
    Ok(json!({
        "dtype": config.merge.dtype, "bytes": written.bytes, "shards": written.shards,
        "tokenizer": written.without_tokenizer.is_none(), "restricted": card.restricted,
        "difference": difference,
    }))
}
