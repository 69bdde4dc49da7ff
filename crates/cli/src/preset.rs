//! Presets of `train`: small TOML files that are compiled in and lie under what the user sets. The list is [`ALL`].

/// Name and text of each preset; the first is the default.
pub(crate) const ALL: [(&str, &str); 3] = [
    ("modern", include_str!("../../../configs/presets/modern.toml")),
    ("alpaca-lora-2023", include_str!("../../../configs/presets/alpaca-lora-2023.toml")),
    ("paper", include_str!("../../../configs/paper.toml")),
];

/// Every name, for `--preset`.
pub(crate) const NAMES: [&str; ALL.len()] = [ALL[0].0, ALL[1].0, ALL[2].0];

/// The text of a preset, none taking the default.
pub(crate) fn text(name: Option<&str>) -> &'static str {
    let found = ALL.iter().find(|(known, _)| Some(*known) == name);
    found.map_or(ALL[0].1, |(_, text)| text)
}

#[cfg(test)]
mod tests {
    use bioinstruct_engine::train::config::{Keep, LossNorm, LossOn, TrainConfig};

    use super::*;
    use crate::config::Config;

    fn config(name: &str) -> Config {
        bioinstruct_core::config::resolve(text(Some(name)), None, &[], toml::Table::new()).unwrap()
    }

    #[test]
    fn modern_is_the_default_and_sets_nothing() {
        assert_eq!(config("modern"), Config::default());
        assert_eq!(text(None), text(Some("modern")));
        let train = config("modern").train;
        assert_eq!((train.loss, train.loss_norm), (LossOn::Answer, LossNorm::Tokens));
    }

    #[test]
    fn alpaca_lora_is_as_its_script_had_it() {
        let train = config("alpaca-lora-2023").train;
        train.check().unwrap();
        assert_eq!((train.batch_rows, train.microbatch_rows, train.cutoff), (128, 4, 256));
        assert_eq!((train.loss, train.loss_norm), (LossOn::All, LossNorm::MicrobatchMean));
        assert_eq!((train.rank, train.alpha, train.lr, train.epochs), (8, 16.0, 3e-4, 3.0));
        assert_eq!((train.warmup(1_200), train.keep, train.keep_checkpoints), (100, Keep::Best, 3));
        // Every value is written down, so that a change of our defaults does not change an old recipe.
        let text: toml::Table = toml::from_str(text(Some("alpaca-lora-2023"))).unwrap();
        let ours = TrainConfig::default();
        assert!(text["train"].as_table().unwrap().len() >= 22, "{text}");
        assert_ne!(train.template, ours.template);
    }

    #[test]
    fn the_paper_differs_from_alpaca_lora_where_we_say_so() {
        let (paper, alpaca) = (config("paper").train, config("alpaca-lora-2023").train);
        paper.check().unwrap();
        let same = TrainConfig {
            template: alpaca.template.clone(),
            cutoff: alpaca.cutoff,
            dev_fraction: alpaca.dev_fraction,
            ..paper.clone()
        };
        assert_eq!(same, alpaca);
        assert_eq!((paper.template.as_str(), paper.cutoff), ("bioinstruct", 512));
    }
}
