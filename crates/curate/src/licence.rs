//! Under which terms a dataset may be passed on, from the licences that its rows bring: [`Licensing`].
//!
//! Nothing is guessed: a licence that is not a known identifier counts as unknown, and one unknown row makes the whole
//! unknown. What is combined are obligations; a dataset comes under the sum of its rows' obligations. It is no legal advice.

use std::collections::{BTreeMap, BTreeSet};

use bioinstruct_core::record::Instruction;
use serde::{Deserialize, Serialize};

/// What a licence asks of who passes a text on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obligation {
    /// Name the authors and the licence.
    Attribution,
    /// Pass adaptations on under the same licence.
    ShareAlike,
    /// No use for commercial advantage.
    NonCommercial,
    /// No adapted text may be passed on.
    NoDerivatives,
}

/// Rows of one source under one licence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTerms {
    /// Where they come from.
    pub source: String,
    /// As the rows say it; empty when they do not.
    pub licence: String,
    /// How many they are.
    pub rows: usize,
    /// How many of them come under a data-use agreement.
    pub restricted: usize,
}

/// The terms of a whole dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licensing {
    /// For the card's header: a hub's identifier of a licence, `other` or `unknown`.
    pub header: String,
    /// Why the header says so, for people.
    pub reason: String,
    /// The sum of the known licences' obligations.
    pub obligations: BTreeSet<Obligation>,
    /// Rows whose licence is not known.
    pub unknown: usize,
    /// By source, then licence.
    pub sources: Vec<SourceTerms>,
}

/// Identifiers without a system in their names: SPDX, the hub's, whether attribution is asked for, whether share-alike.
const KNOWN: [(&str, &str, bool, bool); 13] = [
    ("CC0-1.0", "cc0-1.0", false, false),
    ("PDDL-1.0", "pddl", false, false),
    ("UNLICENSE", "unlicense", false, false),
    ("MIT-0", "other", false, false),
    ("MIT", "mit", true, false),
    ("ISC", "isc", true, false),
    ("BSD-2-CLAUSE", "bsd-2-clause", true, false),
    ("BSD-3-CLAUSE", "bsd-3-clause", true, false),
    ("APACHE-2.0", "apache-2.0", true, false),
    ("ODC-BY-1.0", "odc-by", true, false),
    ("ODBL-1.0", "odbl", true, true),
    ("GFDL-1.3", "gfdl", true, true),
    ("CDLA-PERMISSIVE-2.0", "cdla-permissive-2.0", true, false),
];

/// The hub's identifier and the obligations of a licence; `None` when it is not known.
fn terms(licence: &str) -> Option<(String, BTreeSet<Obligation>)> {
    let name = licence.trim().to_uppercase().replace(' ', "-");
    if let Some((_, hub, attribution, share_alike)) = KNOWN.iter().find(|known| known.0 == name) {
        let asked =
            [(*attribution, Obligation::Attribution), (*share_alike, Obligation::ShareAlike)];
        let asked = asked.into_iter().filter(|(is_asked, _)| *is_asked);
        return Some(((*hub).to_owned(), asked.map(|(_, obligation)| obligation).collect()));
    }
    let rest = name.strip_prefix("CC-BY")?;
    let (clauses, version) = rest.rsplit_once('-')?;
    let clauses: Vec<&str> = clauses.split('-').skip(1).collect();
    let mut asked = BTreeSet::from([Obligation::Attribution]);
    match clauses[..] {
        [] => {}
        ["SA"] => asked.extend([Obligation::ShareAlike]),
        ["ND"] => asked.extend([Obligation::NoDerivatives]),
        ["NC"] => asked.extend([Obligation::NonCommercial]),
        ["NC", "SA"] => asked.extend([Obligation::NonCommercial, Obligation::ShareAlike]),
        ["NC", "ND"] => asked.extend([Obligation::NonCommercial, Obligation::NoDerivatives]),
        _ => return None,
    }
    ["1.0", "2.0", "2.5", "3.0", "4.0"].contains(&version).then(|| (name.to_lowercase(), asked))
}

impl Licensing {
    /// The terms of these rows together; `source` gives a row's source a name.
    pub fn of(rows: &[Instruction], source: impl Fn(&Instruction) -> &str) -> Self {
        let mut counts: BTreeMap<(&str, &str), [usize; 2]> = BTreeMap::new();
        for row in rows {
            let count = counts.entry((source(row), &row.provenance.licence)).or_default();
            count[0] += 1;
            count[1] += usize::from(row.provenance.restricted);
        }
        let of = |((source, licence), [rows, restricted]): ((&str, &str), [usize; 2])| {
            SourceTerms { source: source.to_owned(), licence: licence.to_owned(), rows, restricted }
        };
        let sources: Vec<SourceTerms> = counts.into_iter().map(of).collect();
        let mut known: BTreeMap<String, BTreeSet<Obligation>> = BTreeMap::new();
        let mut new = Self { sources, ..Self::default() };
        for one in &new.sources {
            match terms(&one.licence) {
                Some((hub, asked)) => {
                    new.obligations.extend(&asked);
                    known.insert(hub, asked);
                }
                None => new.unknown += one.rows,
            }
        }
        let restricted: usize = new.sources.iter().map(|one| one.restricted).sum();
        (new.header, new.reason) = new.header(restricted, &known);
        new
    }

    fn header(
        &self,
        restricted: usize,
        known: &BTreeMap<String, BTreeSet<Obligation>>,
    ) -> (String, String) {
        let other = |reason: &str| ("other".to_owned(), reason.to_owned());
        if restricted > 0 {
            return other("a data-use agreement holds for some rows, so for the whole");
        }
        if self.unknown > 0 || known.is_empty() {
            return (
                "unknown".to_owned(),
                "some rows do not say under which licence they come".to_owned(),
            );
        }
        if known.len() == 1 {
            let only = known.keys().next().map_or("unknown", String::as_str);
            return (only.to_owned(), "all rows come under it".to_owned());
        }
        let share_alike = known.values().filter(|asked| asked.contains(&Obligation::ShareAlike));
        if share_alike.count() > 1
            || self.obligations.contains(&Obligation::ShareAlike)
                && self.obligations.contains(&Obligation::NoDerivatives)
        {
            return other(
                "the licences of the rows ask for things that exclude one another: pass the sources on apart",
            );
        }
        // The strictest: it asks for all that any of them asks; of equals a Creative Commons licence, then the later name.
        let strictest = known.iter().filter(|(_, asked)| **asked == self.obligations);
        match strictest.max_by_key(|(hub, _)| (hub.starts_with("cc-"), *hub)) {
            Some((hub, _)) => (
                hub.clone(),
                "the strictest of the rows' licences; the others hold for their own rows"
                    .to_owned(),
            ),
            None => other("no single licence asks for all that the rows' licences ask together"),
        }
    }

    /// The obligations in words.
    pub fn in_words(&self) -> Vec<&'static str> {
        let words = |obligation: &Obligation| match obligation {
            Obligation::Attribution => "name the sources and their licences",
            Obligation::ShareAlike => "pass adaptations on under the same licence",
            Obligation::NonCommercial => "no commercial use",
            Obligation::NoDerivatives => "no adapted text may be passed on",
        };
        self.obligations.iter().map(words).collect()
    }
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;

    use super::*;

    fn of(licences: &[&str]) -> Licensing {
        let row = |licence: &&str| {
            let provenance = Provenance {
                licence: (*licence).to_owned(),
                restricted: *licence == "DUA",
                ..Provenance::default()
            };
            Instruction::new("Do it.".into(), String::new(), "x".into(), None, provenance)
        };
        let rows: Vec<Instruction> = licences.iter().map(row).collect();
        Licensing::of(&rows, |_| "here")
    }

    #[test]
    fn the_strictest_licence_holds_for_the_whole() {
        for (licences, header) in [
            (&["MIT"][..], "mit"),
            (&["CC BY 4.0", "CC-BY-4.0"], "cc-by-4.0"),
            (&["MIT", "CC0-1.0"], "mit"),
            (&["Apache-2.0", "CC-BY-4.0", "MIT"], "cc-by-4.0"),
            (&["CC-BY-4.0", "CC-BY-NC-4.0"], "cc-by-nc-4.0"),
            (&["CC-BY-4.0", "CC-BY-SA-4.0"], "cc-by-sa-4.0"),
            (&["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "other"),
            (&["CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"], "other"),
            (&["CC-BY-SA-4.0", "CC-BY-NC-ND-4.0"], "other"),
            (&["MIT", ""], "unknown"),
            (&["MIT (of the repository; the texts' own status is not stated)"], "unknown"),
            (&["CC-BY-XX-4.0"], "unknown"),
            (&["MIT", "DUA"], "other"),
            (&[], "unknown"),
        ] {
            assert_eq!(of(licences).header, header, "{licences:?}");
        }
    }

    #[test]
    fn obligations_add_up_and_unknown_rows_are_counted() {
        let found = of(&["MIT", "CC-BY-NC-4.0", "", "free for all"]);
        let asked = [Obligation::Attribution, Obligation::NonCommercial];
        assert_eq!(found.obligations, BTreeSet::from(asked));
        assert_eq!((found.unknown, found.sources.len()), (2, 4));
    }
}
