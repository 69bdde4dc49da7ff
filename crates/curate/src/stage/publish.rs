//! The files of a dataset: [`publish`] writes those of rows, of numbers and the card, [`publish_exports`] the other formats.
//!
//! The files that every dataset has are each written by a thread that waits until they are durable, so that the threads that have
//! something to compute do not.

use std::io::{Error, ErrorKind, Result as IoResult, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Scope, ScopedJoinHandle, scope};

use bioinstruct_core::jsonl;
use bioinstruct_core::record::Instruction;
use bioinstruct_core::run_directory::{RunError, Stage, create_private_directory};
use bioinstruct_data::split::Split;
use serde::{Serialize, Serializer};

use super::Timing;
use crate::card::dataset_card;
use crate::category::Labelling;
use crate::export::{self, Export};
use crate::findings::Together;
use crate::history::Origin;
use crate::meaning::Meaning;
use crate::pipeline::Outcome;
use crate::statistics::Statistics;
use crate::{CurateConfig, CurateError};

/// The two sides of a dataset.
pub(super) const SIDES: [&str; 2] = ["train", "dev"];

/// Published beside the others when rows were compared with the items of tasks.
pub(super) const CONTAMINATION: [&str; 2] = ["contamination.jsonl", "contamination.json"];

/// Parts of a file of rows that wait to be written.
const WAITING: usize = 16;

/// A file on its way to the disk.
type Publishing<'scope> = ScopedJoinHandle<'scope, Result<PathBuf, RunError>>;

pub(super) fn publish(
    stage: &Stage,
    outcome: &Outcome,
    (labelling, meaning): (Labelling, Option<Meaning>),
    parted: &Split,
    config: &CurateConfig,
    seed: u64,
) -> Result<(), CurateError> {
    let statistics = scope(|scope| {
        // The statistics need the rows alone, and the files of rows nothing of the statistics.
        let (statistics, files) = rayon::join(
            || Statistics {
                meaning,
                ..Statistics::of(outcome, labelling, parted.train.len(), parted.dev.len())
            },
            || publish_rows(scope, stage, outcome, parted),
        );
        files?.into_iter().try_for_each(published)?;
        Ok::<_, RunError>(statistics)
    })?;
    let card = dataset_card(&statistics, &config.rules()?, seed)?;
    let timings = outcome
        .funnel
        .iter()
        .map(|step| Timing { filter: step.filter.clone(), seconds: step.seconds });
    if let Some(contamination) = &outcome.contamination {
        let [pairs, report] = CONTAMINATION;
        stage.publish(pairs, |out| jsonl::write(out, &contamination.found))?;
        stage.publish_json(report, &contamination.report)?;
    }
    scope(|scope| {
        let files = [
            scope.spawn(|| stage.publish_json("stats.json", &statistics)),
            scope.spawn(|| stage.publish("README.md", |out| out.write_all(card.as_bytes()))),
            scope.spawn(|| stage.publish("timing.jsonl", |out| jsonl::write(out, timings))),
        ];
        files.into_iter().try_for_each(published)
    })?;
    Ok(())
}

fn published(file: Publishing<'_>) -> Result<(), RunError> {
    file.join().expect("a thread that writes a file does not panic").map(|_| ())
}

/// The files of rows, which are most of what is published.
fn publish_rows<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stage: &'scope Stage,
    outcome: &Outcome,
    parted: &Split,
) -> Result<Vec<Publishing<'scope>>, RunError> {
    let side = |positions: &[usize]| -> Vec<&Instruction> {
        positions.iter().map(|&at| &outcome.kept[at]).collect()
    };
    let sides = parted.train.iter().chain(&parted.dev);
    let origins: Vec<&Origin> = sides.map(|&at| &outcome.origins[at]).collect();
    let findings: Vec<WithTexts> =
        outcome.findings.iter().map(|together| WithTexts { outcome, together }).collect();
    Ok(vec![
        publish_jsonl(scope, stage, "train.jsonl", &side(&parted.train))?,
        publish_jsonl(scope, stage, "dev.jsonl", &side(&parted.dev))?,
        publish_jsonl(scope, stage, "origins.jsonl", &origins)?,
        publish_jsonl(scope, stage, "rejected.jsonl", &outcome.rejected)?,
        publish_jsonl(scope, stage, "findings.jsonl", &findings)?,
        publish_jsonl(scope, stage, "quarantine.jsonl", &outcome.quarantined)?,
    ])
}

/// Makes the lines on all threads of the current rayon pool, and has them written meanwhile.
fn publish_jsonl<'scope, T: Serialize + Sync>(
    scope: &'scope Scope<'scope, '_>,
    stage: &'scope Stage,
    name: &'static str,
    rows: &[T],
) -> Result<Publishing<'scope>, RunError> {
    let (send, parts) = sync_channel(WAITING);
    let file = scope.spawn(move || stage.publish(name, |out| write_parts(out, &parts)));
    let made = jsonl::in_parallel(rows, |part| {
        // Nobody takes the part when the file could not be written: the thread says why when it is joined.
        let _ = send.send(part);
    });
    made.map_err(RunError::Io)?;
    let _ = send.send(END.to_vec());
    Ok(file)
}

/// What follows the last part of a file; parts are not empty.
const END: &[u8] = &[];

/// Parts that stop without [`END`] are those of a file that came to nothing, and must not look like a whole one.
fn write_parts(out: &mut dyn Write, parts: &Receiver<Vec<u8>>) -> IoResult<()> {
    for part in parts {
        if part == END {
            return Ok(());
        }
        out.write_all(&part)?;
    }
    Err(Error::new(ErrorKind::UnexpectedEof, "the rows ended before the last one"))
}

/// A finding that takes its texts from the rows only while it is written.
struct WithTexts<'a> {
    outcome: &'a Outcome,
    together: &'a Together,
}

impl Serialize for WithTexts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.outcome.finding(self.together).serialize(serializer)
    }
}

/// The formats that the configuration names.
pub(super) fn exports(config: &CurateConfig) -> Result<Vec<Export>, CurateError> {
    config.export.iter().map(|name| Export::named(name)).collect()
}

pub(super) fn publish_exports(
    stage: &Stage,
    outcome: &Outcome,
    parted: &Split,
    exports: &[Export],
) -> Result<(), CurateError> {
    if exports.is_empty() {
        return Ok(());
    }
    create_private_directory(&stage.path(export::DIRECTORY)).map_err(RunError::Io)?;
    for (side, positions) in SIDES.into_iter().zip([&parted.train, &parted.dev]) {
        let rows: Vec<Instruction> = positions.iter().map(|&at| outcome.kept[at].clone()).collect();
        for export in exports {
            stage.publish(&export.file(side), |out| export.write(out, &rows))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stop_short_are_not_a_file() {
        let (send, parts) = sync_channel(WAITING);
        send.send(b"{}\n".to_vec()).unwrap();
        drop(send);
        let error = write_parts(&mut Vec::new(), &parts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}
