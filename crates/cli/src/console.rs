//! The terminal: results on standard output, messages and progress on standard error; the main type is [`Console`].

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tracing_subscriber::EnvFilter;

/// Where a verb speaks.
#[derive(Debug)]
pub(crate) struct Console {
    json: bool,
    interactive: bool,
}

/// Sends warnings (and with `-v` more) to standard error.
pub(crate) fn start_logging(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let filter =
        EnvFilter::try_from_env("BIOINSTRUCT_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .init();
}

/// One line on standard error; a closed one is no reason to fail.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

impl Console {
    /// `json`: print the summary object.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, interactive: std::io::stderr().is_terminal() }
    }

    /// A message for people, on standard error.
    pub(crate) fn say(&self, line: &str) {
        complain(line);
    }

    /// Whether colours may be used on standard output.
    pub(crate) fn colour(&self) -> bool {
        std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Text for standard output; the reader may close it early.
    pub(crate) fn print(&self, text: &str) -> anyhow::Result<()> {
        match write!(std::io::stdout(), "{text}").and_then(|()| std::io::stdout().flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => Ok(other?),
        }
    }

    /// The summary as the last line of standard output, where `--json` asks for it.
    pub(crate) fn summary(&self, summary: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            self.print(&format!("{}\n", serde_json::to_string(summary)?))
        } else {
            Ok(())
        }
    }

    /// A bar for `total` things of a stage, with rate and time left; a plain line where standard error is no terminal.
    pub(crate) fn bar(&self, stage: &str, total: u64, unit: &str) -> Bar {
        let bar = ProgressBar::with_draw_target(
            Some(total),
            if self.interactive {
                ProgressDrawTarget::stderr()
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        let template = format!(
            "{{prefix:<9}} {{bar:28}} {{pos}}/{{len}} {unit}  {{per_sec}}  left {{eta}}  {{wide_msg}}"
        );
        bar.set_style(
            ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("━╸─"),
        );
        bar.set_prefix(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        if !self.interactive {
            complain(&format!("{stage}: {total} {unit}"));
        }
        Bar { progress: bar, interactive: self.interactive, stage: stage.to_owned() }
    }
}

/// Progress of one stage.
#[derive(Debug)]
pub(crate) struct Bar {
    progress: ProgressBar,
    interactive: bool,
    stage: String,
}

impl Bar {
    /// How much is done, and a short remark.
    pub(crate) fn update(&self, done: u64, remark: String) {
        self.progress.set_position(done);
        self.progress.set_message(remark);
    }

    /// Replaces the bar by a line that stays.
    pub(crate) fn finish(self, line: &str) {
        self.progress.finish_and_clear();
        let seconds = self.progress.elapsed().as_secs_f64();
        if self.interactive {
            complain(&format!("{:<9} ✓ {line} ({})", self.stage, duration(seconds)));
        } else {
            complain(&format!("{}: {line} ({})", self.stage, duration(seconds)));
        }
    }
}

/// `7 s`, `3 min 20 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole / 60 {
        0 => format!("{seconds:.1} s"),
        minutes => format!("{minutes} min {} s", whole % 60),
    }
}
