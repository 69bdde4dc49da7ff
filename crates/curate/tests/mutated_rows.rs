//! Broken rows never stop the program and never get lost. The example `mutated_rows` is the long form.

mod mutation;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn broken_rows_are_kept_rejected_or_quarantined(seed in any::<u64>(), number in 0u64..1_000) {
        mutation::survive(&mutation::mutated_file(seed, number, 60), number);
    }
}

#[test]
fn the_generator_breaks_some_rows_and_leaves_some() {
    let mut sum = mutation::Tally::default();
    for number in 0..20 {
        let tally = mutation::survive(&mutation::mutated_file(1, number, 100), number);
        sum.kept += tally.kept;
        sum.rejected += tally.rejected;
        sum.quarantined += tally.quarantined;
    }
    assert!(sum.kept > 50 && sum.rejected > 200 && sum.quarantined > 200, "{sum:?}");
}
