//! The audit sheet: [`draw`] chooses rows by stratum, [`write()`] puts them into a CSV file with empty columns for answers.

use std::collections::BTreeMap;
use std::io::Write;

use bioinstruct_core::hash::ContentHash;
use bioinstruct_core::record::{Category, Instruction};

use super::QUESTIONS;
use crate::statistics::source_family;

/// Columns before and after the questions'.
pub(super) const BEFORE: [&str; 6] = ["id", "stratum", "instruction", "input", "output", "rater"];
pub(super) const AFTER: &str = "comment";

/// Category and source of a row: rows are drawn from each pair of them.
pub fn stratum(row: &Instruction) -> String {
    let category = row.category.map_or("unknown", Category::name);
    let source = match source_family(&row.provenance.source) {
        "" => "unknown",
        source => source,
    };
    format!("{category} / {source}")
}

/// Positions of `count` rows, all when there are fewer. Strata get shares of the count by their sizes (largest remainders), and
/// at least one row each when there are enough; within one, a hash of the seed and the row's id decides. So the order of the
/// rows changes nothing, and the order of the sheet tells nothing of a row.
pub fn draw(rows: &[Instruction], count: usize, seed: u64) -> Vec<usize> {
    let rank = |at: usize| {
        ContentHash::of_parts([b"audit".as_slice(), &seed.to_le_bytes(), rows[at].id.as_bytes()])
    };
    let mut strata: BTreeMap<String, Vec<(ContentHash, usize)>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        strata.entry(stratum(row)).or_default().push((rank(at), at));
    }
    let sizes: Vec<usize> = strata.values().map(Vec::len).collect();
    let mut drawn: Vec<(ContentHash, usize)> = Vec::new();
    for (mut members, share) in strata.into_values().zip(shares(&sizes, count)) {
        members.sort();
        drawn.extend(members.into_iter().take(share));
    }
    drawn.sort();
    drawn.into_iter().map(|(_, at)| at).collect()
}

/// How many rows of each stratum.
fn shares(sizes: &[usize], count: usize) -> Vec<usize> {
    let total: usize = sizes.iter().sum();
    let count = count.min(total);
    let least = usize::from(count >= sizes.len());
    let left = count - least * sizes.len();
    let spare = (total - least * sizes.len()).max(1);
    let exact = |size: usize| (left * (size - least), spare);
    let mut shares: Vec<usize> = sizes
        .iter()
        .map(|&size| {
            let (share, of) = exact(size);
            least + share / of
        })
        .collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&at| {
        let (share, of) = exact(sizes[at]);
        (std::cmp::Reverse(share % of), at)
    });
    let missing = count - shares.iter().sum::<usize>();
    for &at in by_remainder.iter().take(missing) {
        shares[at] += 1;
    }
    shares
}

/// Writes the sheet. Texts that a spreadsheet would take for a formula are given an apostrophe before them.
pub fn write(out: &mut dyn Write, rows: &[&Instruction]) -> std::io::Result<()> {
    let mut table = csv::Writer::from_writer(out);
    let columns = QUESTIONS.iter().map(|question| question.column);
    table.write_record(BEFORE.into_iter().chain(columns).chain([AFTER]))?;
    for row in rows {
        let stratum = stratum(row);
        let texts = [&row.id, &stratum, &row.instruction, &row.input, &row.output];
        let cells = texts.into_iter().map(|text| plain(text));
        let empty = std::iter::repeat_n(String::new(), QUESTIONS.len() + 2);
        table.write_record(cells.chain(empty))?;
    }
    table.flush()
}

fn plain(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if is_formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use bioinstruct_core::record::Provenance;
    use proptest::prelude::*;

    use super::*;

    fn row(number: usize, category: Category, source: &str) -> Instruction {
        let provenance = Provenance { source: source.to_owned(), ..Provenance::default() };
        let text = format!("- task {number}");
        Instruction::new(text, String::new(), "=1+1".to_owned(), Some(category), provenance)
    }

    proptest! {
        #[test]
        fn shares_add_up_and_no_stratum_gives_more_than_it_has(
            sizes in proptest::collection::vec(1usize..200, 1..9),
            count in 0usize..600,
        ) {
            let shares = shares(&sizes, count);
            let total: usize = sizes.iter().sum();
            prop_assert_eq!(shares.iter().sum::<usize>(), count.min(total));
            prop_assert!(shares.iter().zip(&sizes).all(|(share, size)| share <= size));
            if count >= sizes.len() {
                prop_assert!(shares.iter().all(|&share| share > 0));
            }
        }
    }

    #[test]
    fn a_draw_does_not_depend_on_the_order_and_takes_each_stratum() {
        let mut rows: Vec<Instruction> = (0..90).map(|n| row(n, Category::Qa, "a:1")).collect();
        rows.extend((90..99).map(|n| row(n, Category::Ie, "a:2")));
        rows.push(row(99, Category::Ie, "b"));
        let ids = |rows: &[Instruction], seed| -> Vec<String> {
            draw(rows, 20, seed).into_iter().map(|at| rows[at].id.clone()).collect()
        };
        let first = ids(&rows, 7);
        let mut turned = rows.clone();
        turned.rotate_left(37);
        assert_eq!(first, ids(&turned, 7));
        assert_ne!(first, ids(&rows, 8));
        let drawn: Vec<String> =
            draw(&rows, 20, 7).into_iter().map(|at| stratum(&rows[at])).collect();
        let of = |name: &str| drawn.iter().filter(|stratum| *stratum == name).count();
        assert_eq!((of("ie / b"), of("ie / a"), of("qa / a")), (1, 2, 17));
    }

    #[test]
    fn formulas_are_text_in_the_sheet() {
        let rows = [row(1, Category::Qa, "a")];
        let mut bytes = Vec::new();
        write(&mut bytes, &[&rows[0]]).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(",'- task 1,,'=1+1,,"), "{text}");
        assert!(text.starts_with("id,stratum,instruction,input,output,rater,valid_task,"));
    }
}
