//! From an error to what the user reads and the process returns: one line for the chain, one for the hint, an exit code.

use std::process::ExitCode;

use bioinstruct_core::diagnose::{Diagnose, FailureKind};

/// The binary's own errors.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CommandError {
    kind: FailureKind,
    message: String,
    hint: Option<String>,
}

impl Diagnose for CommandError {
    fn kind(&self) -> FailureKind {
        self.kind
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// A setting that cannot be used.
pub(crate) fn configuration(message: String) -> anyhow::Error {
    CommandError { kind: FailureKind::Configuration, message, hint: None }.into()
}

/// A command line that cannot be understood.
pub(crate) fn usage(message: String, hint: &str) -> anyhow::Error {
    CommandError { kind: FailureKind::Usage, message, hint: Some(hint.to_owned()) }.into()
}

/// An input that is not what it should be.
pub(crate) fn data(message: String, hint: &str) -> anyhow::Error {
    CommandError { kind: FailureKind::Data, message, hint: Some(hint.to_owned()) }.into()
}

/// Prints the error and gives the exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // A transparent error repeats its source.
        if !text.ends_with(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.push_str(separator);
            text.push_str(&cause);
        }
    }
    let (kind, hint) = error.chain().find_map(diagnose).unwrap_or((FailureKind::Data, None));
    crate::console::complain(&format!("error: {text}"));
    if let Some(hint) = hint {
        crate::console::complain(&format!("hint: {hint}"));
    }
    ExitCode::from(kind.exit_code())
}

/// One line for each error type of the libraries.
fn diagnose(error: &(dyn std::error::Error + 'static)) -> Option<(FailureKind, Option<String>)> {
    fn of<E: Diagnose + 'static>(
        error: &(dyn std::error::Error + 'static),
    ) -> Option<(FailureKind, Option<String>)> {
        error.downcast_ref::<E>().map(|error| (error.kind(), error.hint()))
    }
    of::<CommandError>(error)
        .or_else(|| of::<bioinstruct_core::config::ConfigError>(error))
        .or_else(|| of::<bioinstruct_core::jsonl::JsonlError>(error))
        .or_else(|| of::<bioinstruct_core::model::ModelError>(error))
        .or_else(|| of::<bioinstruct_core::run_directory::RunError>(error))
        .or_else(|| of::<bioinstruct_core::template::TemplateError>(error))
        .or_else(|| of::<bioinstruct_curate::CurateError>(error))
        .or_else(|| of::<bioinstruct_data::rows::RowsError>(error))
        .or_else(|| of::<bioinstruct_data::task::TaskError>(error))
        .or_else(|| of::<bioinstruct_engine::EngineError>(error))
        .or_else(|| of::<bioinstruct_engine::format::FormatError>(error))
        .or_else(|| of::<bioinstruct_engine::local::LocalError>(error))
        .or_else(|| of::<bioinstruct_engine::source::SourceError>(error))
        .or_else(|| of::<bioinstruct_engine::tokenizer::TokenizerError>(error))
        .or_else(|| of::<bioinstruct_eval::EvaluationError>(error))
        .or_else(|| of::<bioinstruct_generate::GenerateError>(error))
        .or_else(|| of::<bioinstruct_ledger::LedgerError>(error))
        .or_else(|| of::<bioinstruct_llm::DownloadError>(error))
        .or_else(|| error.downcast_ref::<std::io::Error>().map(|_| (FailureKind::Io, None)))
}
