//! κ and α against scikit-learn and the package `krippendorff`.

use std::path::Path;

use bioinstruct_curate::agreement::{cohen_kappa, krippendorff_alpha};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    raters: Vec<Vec<Option<u8>>>,
    kappa: Option<f64>,
    alpha: f64,
}

#[test]
fn kappa_and_alpha_are_those_of_the_packages() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/curate/agreement.json");
    let cases: Vec<Case> =
        serde_json::from_str(&fs_err::read_to_string(Path::new(path)).unwrap()).unwrap();
    assert!(cases.iter().filter(|case| case.kappa.is_some()).count() >= 3);
    for case in cases {
        if let Some(expected) = case.kappa {
            let pairs: Vec<(u8, u8)> = case.raters[0]
                .iter()
                .zip(&case.raters[1])
                .map(|(first, second)| (first.unwrap(), second.unwrap()))
                .collect();
            let found = cohen_kappa(&pairs).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
        let items: Vec<Vec<u8>> = (0..case.raters[0].len())
            .map(|item| case.raters.iter().filter_map(|labels| labels[item]).collect())
            .collect();
        let found = krippendorff_alpha(&items).unwrap();
        assert!((found - case.alpha).abs() < 1e-12, "{found} is not {}", case.alpha);
    }
}
