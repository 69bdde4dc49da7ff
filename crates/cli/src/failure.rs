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

/// A run that this machine cannot hold.
pub(crate) fn too_large(message: String, hint: String) -> anyhow::Error {
    CommandError { kind: FailureKind::Configuration, message, hint: Some(hint) }.into()
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
        let cause = one_line(&cause.to_string());
        // A transparent error repeats its source.
        if !text.ends_with(&cause) {
            let separator = if text.is_empty() { "" } else { ": " };
            text.push_str(separator);
            text.push_str(&cause);
        }
    }
    let (kind, hint) = error.chain().find_map(diagnose).unwrap_or((FailureKind::Data, None));
    crate::console::complain(&format!("error: {text}"));
    if let Some(hint) = hint.or_else(|| general_hint(kind, system_error(&text))) {
        crate::console::complain(&format!("hint: {hint}"));
    }
    ExitCode::from(kind.exit_code())
}

/// An error's text in one line: TOML's errors draw the line that they mean, which a log cannot hold.
fn one_line(text: &str) -> String {
    let drawn = |line: &str| {
        let rest = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
        rest.starts_with('|')
    };
    let lines = text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !drawn(line));
    let mut joined = String::new();
    for line in lines {
        if !joined.is_empty() {
            joined.push_str(if line.starts_with("in `") { ", " } else { ": " });
        }
        joined.push_str(line);
    }
    joined
}

/// What the file system said. An error that only repeats it hides it from the chain, but its number stands in the text.
fn system_error(text: &str) -> Option<std::io::ErrorKind> {
    let (_, after) = text.rsplit_once("(os error ")?;
    let number = after.split(')').next()?.parse().ok()?;
    Some(std::io::Error::from_raw_os_error(number).kind())
}

/// What to try where the error itself has no hint.
fn general_hint(kind: FailureKind, system: Option<std::io::ErrorKind>) -> Option<String> {
    use std::io::ErrorKind;
    let hint = match (kind, system) {
        (_, Some(ErrorKind::NotFound)) => {
            "check the path; one that does not begin with `/` starts at the current directory"
        }
        (_, Some(ErrorKind::PermissionDenied)) => {
            "name a path that you may read, or for results one that you may write"
        }
        (_, Some(ErrorKind::IsADirectory)) => "name a file, not a directory",
        (_, Some(ErrorKind::NotADirectory)) => "name a directory, not a file",
        (_, Some(ErrorKind::StorageFull)) => "free some space, then run the same command again",
        (FailureKind::Configuration, _) => {
            "mend the value where it was given: a flag, `--set` or a file; `configs/paper.toml` shows every key"
        }
        (FailureKind::Usage, _) => "`bioinstruct VERB --help` lists the flags",
        _ => return None,
    };
    Some(hint.to_owned())
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
        .or_else(|| of::<bioinstruct_data::mixture::MixtureError>(error))
        .or_else(|| of::<bioinstruct_data::rows::RowsError>(error))
        .or_else(|| of::<bioinstruct_data::task::TaskError>(error))
        .or_else(|| of::<bioinstruct_engine::EngineError>(error))
        .or_else(|| of::<bioinstruct_engine::format::FormatError>(error))
        .or_else(|| of::<bioinstruct_engine::local::LocalError>(error))
        .or_else(|| of::<bioinstruct_engine::sentence::SentenceError>(error))
        .or_else(|| of::<bioinstruct_engine::source::SourceError>(error))
        .or_else(|| of::<bioinstruct_engine::tokenizer::TokenizerError>(error))
        .or_else(|| of::<bioinstruct_eval::EvaluationError>(error))
        .or_else(|| of::<bioinstruct_generate::GenerateError>(error))
        .or_else(|| of::<bioinstruct_ledger::LedgerError>(error))
        .or_else(|| of::<bioinstruct_llm::DownloadError>(error))
        .or_else(|| error.downcast_ref::<std::io::Error>().map(|_| (FailureKind::Io, None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_error_becomes_one_line() {
        let drawn = "TOML parse error at line 1, column 8\n  |\n1 | [curate\n  |        ^\nunclosed table, expected `]`\n";
        assert_eq!(
            one_line(drawn),
            "TOML parse error at line 1, column 8: unclosed table, expected `]`"
        );
        assert_eq!(
            one_line("unknown field `foo`\nin `curate`\n"),
            "unknown field `foo`, in `curate`"
        );
        assert_eq!(one_line("12 rows are bad"), "12 rows are bad");
    }

    #[test]
    fn a_system_error_is_known_by_its_number() {
        let missing = fs_err::read("/nowhere/at/all").unwrap_err().to_string();
        assert_eq!(system_error(&missing), Some(std::io::ErrorKind::NotFound));
        assert_eq!(system_error("a row is bad"), None);
    }

    #[test]
    fn an_error_without_a_hint_gets_a_general_one() {
        let hint = |kind, system| general_hint(kind, system).unwrap_or_default();
        let missing = hint(FailureKind::Io, Some(std::io::ErrorKind::NotFound));
        assert!(missing.contains("check the path"), "{missing}");
        assert!(hint(FailureKind::Configuration, None).contains("--set"));
        assert!(hint(FailureKind::Usage, None).contains("--help"));
        assert_eq!(general_hint(FailureKind::Temporary, None), None);
    }
}
