//! The terminal: results on standard output, messages and progress on standard error; the main type is [`Console`].

use std::cell::Cell;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
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
        // A dumb terminal cannot go back in a line.
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { json, interactive: std::io::stderr().is_terminal() && !dumb }
    }

    /// Whether the summary object is asked for.
    pub(crate) fn json(&self) -> bool {
        self.json
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

    /// A bar for `total` things of a stage, with rate and time left; now and then a plain line where standard error is no
    /// terminal.
    pub(crate) fn bar(&self, stage: &str, total: u64, unit: &str) -> Bar {
        let target = if self.interactive {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let length = if width() < 90 { 10 } else { 28 };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = format!(
            "{{prefix:<9}} {{bar:{length}}} {{pos}}/{{len}} {unit}  {{rate}}  {{left}}  {{wide_msg}}"
        );
        bar.set_style(
            ProgressStyle::with_template(&template)
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "{}", rate(state.pos(), state.per_sec()));
                })
                .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
                    let left = (state.pos() > 0).then(|| HumanDuration(state.eta()));
                    let _ = left.map_or(Ok(()), |left| write!(out, "{left:#} left"));
                })
                .progress_chars("━╸─"),
        );
        bar.set_prefix(stage.to_owned());
        bar.enable_steady_tick(Duration::from_millis(250));
        Bar {
            progress: bar,
            interactive: self.interactive,
            stage: stage.to_owned(),
            unit: unit.to_owned(),
            told: Cell::new(None),
        }
    }
}

/// Columns of the terminal, or a usual number where there is none; `COLUMNS` overrides it.
pub(crate) fn width() -> usize {
    let told = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let sizes = [Term::stdout(), Term::stderr()].into_iter().find_map(|term| term.size_checked());
    told.or(sizes.map(|(_, columns)| usize::from(columns))).unwrap_or(100)
}

/// Time between two lines of progress where there is no terminal to draw in.
const PLAIN_EVERY: Duration = Duration::from_secs(30);

/// Progress of one stage.
#[derive(Debug)]
pub(crate) struct Bar {
    progress: ProgressBar,
    interactive: bool,
    stage: String,
    unit: String,
    /// When the last plain line was written.
    told: Cell<Option<Instant>>,
}

impl Bar {
    /// How much is done, and a short remark.
    pub(crate) fn update(&self, done: u64, remark: String) {
        self.progress.set_position(done);
        if !self.interactive && self.told.get().is_none_or(|told| told.elapsed() >= PLAIN_EVERY) {
            let total = self.progress.length().unwrap_or(done);
            complain(&format!("{}: {done}/{total} {}  {remark}", self.stage, self.unit));
            self.told.set(Some(Instant::now()));
        }
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

/// `12/s`, `3.1/s`, or where one takes longer than a second, `16 s each`; nothing before the first is done.
fn rate(done: u64, per_second: f64) -> String {
    match per_second {
        _ if done == 0 || per_second <= 0.0 || !per_second.is_finite() => String::new(),
        rate if rate >= 10.0 => format!("{rate:.0}/s"),
        rate if rate >= 1.0 => format!("{rate:.1}/s"),
        rate if rate > 0.1 => format!("{:.1} s each", 1.0 / rate),
        rate => format!("{:.0} s each", 1.0 / rate),
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

/// `1 step`, `2 steps`.
pub(crate) fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_rate_is_told_as_time_for_one() {
        assert_eq!(rate(0, 3.0), "");
        assert_eq!(rate(1, f64::NAN), "");
        assert_eq!(rate(5, 12.34), "12/s");
        assert_eq!(rate(5, 3.09), "3.1/s");
        assert_eq!(rate(5, 0.25), "4.0 s each");
        assert_eq!(rate(5, 0.0625), "16 s each");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!((counted(1, "step"), counted(2, "step")), ("1 step".into(), "2 steps".into()));
    }
}
