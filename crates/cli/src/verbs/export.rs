//! `export`: a model, with an adapter in it or without, or an adapter alone, as a GGUF file for llama.cpp.

use std::path::Path;

use bioinstruct_core::NOT_FOR_PATIENT_CARE;
use bioinstruct_engine::format::DataType;
use bioinstruct_engine::merge::Merged;
use bioinstruct_engine::merge::gguf::{FileType, write_gguf};
use bioinstruct_engine::merge::gguf_adapter::write_gguf_adapter;
use serde_json::{Value, json};

use crate::arguments::{Export, Globals};
use crate::config::{Config, Flags};
use crate::console::Console;
use crate::failure;
use crate::merging::{self, Ingredients, MergedCard};

pub(crate) fn run(verb: &Export, globals: &Globals, console: &Console) -> anyhow::Result<()> {
    let config = Config::resolve("", globals, Flags::default())?;
    let unfinished = merging::unfinished(&verb.out)?;
    let adapter = verb.adapter.as_deref();
    let parts = Ingredients::open(&verb.model, adapter, &config, globals, console)?;
    let written = if verb.adapter_only {
        write_adapter(&parts, &unfinished)
    } else {
        write_model(&parts, &unfinished, file_type(&verb.gguf)?, &config, console)
    };
    let written =
        written.and_then(|summary| merging::publish(&unfinished, &verb.out).map(|()| summary));
    if written.is_err() {
        // the error that matters is the one at hand
        let _ = fs_err::remove_file(&unfinished);
    }
    let mut summary = written?;
    summary["out"] = json!(verb.out);
    console.say(&format!("exported: {}", verb.out.display()));
    console.say(NOT_FOR_PATIENT_CARE);
    console.summary(&summary)
}

/// `q4_k_m` is llama.cpp's name for what `q4_k` is here.
fn file_type(name: &str) -> anyhow::Result<FileType> {
    let name = name.to_ascii_lowercase();
    let wanted = if name == "q4_k_m" { "q4_k" } else { &name };
    FileType::ALL.into_iter().find(|kind| kind.name() == wanted).ok_or_else(|| {
        let known: Vec<&str> = FileType::ALL.into_iter().map(FileType::name).collect();
        failure::usage(
            format!("--gguf: `{name}` is none of {}", known.join(", ")),
            "`bioinstruct export --help` lists the flags",
        )
    })
}

fn write_model(
    parts: &Ingredients<'_>,
    path: &Path,
    file_type: FileType,
    config: &Config,
    console: &Console,
) -> anyhow::Result<Value> {
    let merged = Merged::new(&parts.file, &parts.backend, parts.adapter.as_ref());
    let card = parts.card(file_type.name())?;
    let counts = write_gguf(&merged, path, &parts.name(), file_type, &remarks(&card))?;
    let counts: Vec<String> =
        counts.iter().map(|(kind, count)| format!("{count} {}", kind.name())).collect();
    console.say(&format!("tensors: {}", counts.join(", ")));
    let bounded = match file_type {
        FileType::F32 => DataType::F32,
        FileType::F16 => DataType::F16,
        FileType::BF16 => DataType::BF16,
        FileType::Q8_0 => DataType::Q8_0,
        FileType::Q4_K => DataType::Q4_K,
    };
    let difference = parts.compare(path, bounded, config.merge.max_difference, console)?;
    Ok(json!({
        "type": file_type.name(), "bytes": fs_err::metadata(path)?.len(), "tensors": counts,
        "restricted": card.restricted, "difference": difference,
    }))
}

fn write_adapter(parts: &Ingredients<'_>, path: &Path) -> anyhow::Result<Value> {
    let Some(loaded) = &parts.adapter else {
        return Err(failure::usage(
            "--adapter-only: there is no adapter".to_owned(),
            "name it with `--adapter DIR`",
        ));
    };
    let card = parts.card("f32")?;
    let factors = (&loaded.config, &loaded.layout, &loaded.values[..]);
    write_gguf_adapter(path, &parts.name(), parts.file.config(), factors, &remarks(&card))?;
    Ok(json!({
        "type": "adapter", "bytes": fs_err::metadata(path)?.len(), "restricted": card.restricted,
    }))
}

/// What the file says of itself beside the base's metadata.
fn remarks(card: &MergedCard) -> Vec<(&'static str, String)> {
    let mut remarks = vec![
        ("bioinstruct.notice", card.notice.clone()),
        ("bioinstruct.restricted", card.restricted.to_string()),
        ("bioinstruct.base", card.base.clone()),
    ];
    remarks.extend(card.adapter.clone().map(|adapter| ("bioinstruct.adapter", adapter)));
    remarks.extend(card.template.clone().map(|template| ("bioinstruct.template", template)));
    remarks
}
