//! Which projections of which blocks are adapted: [`Targets`], with PEFT's rules of matching module paths.

use regex::Regex;

use super::Projection;
use crate::error::EngineError;

/// What a user or an adapter file calls modules by.
#[derive(Debug, Clone)]
pub enum Matcher {
    /// Every projection of every block.
    AllLinear,
    /// A path, or what it ends in after a dot: `q_proj`, `self_attn.q_proj`, `model.layers.0.self_attn.q_proj`.
    Name(String),
    /// A regular expression, with its text, that has to match a whole path.
    Pattern(Regex, String),
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::AllLinear, Self::AllLinear) => true,
            (Self::Name(one), Self::Name(other))
            | (Self::Pattern(_, one), Self::Pattern(_, other)) => one == other,
            _ => false,
        }
    }
}

impl Matcher {
    /// A word of `--targets`: `q`, `q_proj` and so on, `all-linear`, and anything else a regular expression.
    pub fn word(word: &str) -> Result<Self, String> {
        if word == "all-linear" {
            return Ok(Self::AllLinear);
        }
        if let Some(name) = projection_name(word) {
            return Ok(Self::Name(name.to_owned()));
        }
        Self::pattern(word)
    }

    /// A regular expression for a whole path.
    pub fn pattern(text: &str) -> Result<Self, String> {
        Self::compiled(&format!("^(?:{text})$"), text)
    }

    /// A key of the settings `rank_pattern` and `alpha_pattern`: a short name, or as [`Matcher::ending`].
    pub fn key(text: &str) -> Result<Self, String> {
        Self::ending(projection_name(text).unwrap_or(text))
    }

    /// A regular expression for a whole path or for what it ends in after a dot: a key of PEFT's `rank_pattern`.
    pub fn ending(text: &str) -> Result<Self, String> {
        Self::compiled(&format!(r"^(?:.*\.)?(?:{text})$"), text)
    }

    fn compiled(pattern: &str, text: &str) -> Result<Self, String> {
        let regex = Regex::new(pattern)
            .map_err(|error| format!("`{text}` is not a regular expression: {error}"))?;
        Ok(Self::Pattern(regex, text.to_owned()))
    }

    /// What was written.
    pub fn text(&self) -> &str {
        match self {
            Self::AllLinear => "all-linear",
            Self::Name(name) => name,
            Self::Pattern(_, text) => text,
        }
    }

    /// Whether it means this module.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Name(name) => {
                path.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Self::Pattern(regex, _) => regex.is_match(path),
        }
    }
}

/// `q_proj` for `q` and for itself, likewise for the others.
fn projection_name(word: &str) -> Option<&'static str> {
    let mut names = Projection::ALL.into_iter().map(Projection::name);
    names.find(|name| word == *name || name.strip_suffix("_proj") == Some(word))
}

/// The blocks that are adapted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// Every one.
    All,
    /// The last so many.
    Last(usize),
    /// These, counted from zero: PEFT's `layers_to_transform`.
    These(Vec<usize>),
}

/// The adapted modules.
#[derive(Debug, Clone, PartialEq)]
pub struct Targets {
    /// A module is adapted that one of these means …
    pub chosen: Vec<Matcher>,
    /// … and none of these.
    pub excluded: Vec<Matcher>,
    /// Its block is among these; a module that is named by its whole path needs not be.
    pub layers: Layers,
}

impl Targets {
    /// Whether this projection of a block is adapted, in a model of so many blocks.
    pub fn select(&self, block: usize, projection: Projection, blocks: usize) -> bool {
        let path = projection.module(block);
        if self.excluded.iter().any(|matcher| matcher.matches(&path)) {
            return false;
        }
        let in_layers = match &self.layers {
            Layers::All => true,
            Layers::Last(count) => block + count >= blocks,
            Layers::These(layers) => layers.contains(&block),
        };
        self.chosen.iter().any(|matcher| {
            let whole = matches!(matcher, Matcher::Name(name) if *name == path);
            matcher.matches(&path) && (in_layers || whole)
        })
    }

    /// What means no module at all of a model of so many blocks: a slip of the pen.
    pub fn idle(&self, blocks: usize) -> Option<&Matcher> {
        let modules: Vec<String> = (0..blocks)
            .flat_map(|block| Projection::ALL.map(|projection| projection.module(block)))
            .collect();
        let all = self.chosen.iter().chain(&self.excluded);
        all.into_iter().find(|matcher| !modules.iter().any(|path| matcher.matches(path)))
    }
}

/// The matchers that a setting's words make.
pub fn matchers<'a>(
    setting: &'static str,
    words: impl Iterator<Item = &'a str>,
) -> Result<Vec<Matcher>, EngineError> {
    words
        .map(|word| Matcher::word(word).map_err(|reason| EngineError::Setting { setting, reason }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Targets {
        let chosen = matchers("train.targets", words.iter().copied()).unwrap();
        Targets { chosen, excluded: Vec::new(), layers: Layers::All }
    }

    fn selected(targets: &Targets) -> Vec<(usize, Projection)> {
        (0..4)
            .flat_map(|block| Projection::ALL.map(|projection| (block, projection)))
            .filter(|(block, projection)| targets.select(*block, *projection, 4))
            .collect()
    }

    #[test]
    fn words_are_names_or_expressions_for_the_whole_path() {
        let count = |words: &[&str]| selected(&of(words)).len();
        assert_eq!(count(&["q", "v_proj"]), 8);
        assert_eq!(count(&["all-linear"]), 28);
        assert_eq!(count(&[r".*layers\.[02]\.mlp\..*"]), 6);
        assert_eq!(count(&["model.layers.3.self_attn.(q|k)_proj"]), 2);
        // Half a path is not a whole one.
        assert_eq!(count(&["mlp"]), 0);
        let error = matchers("train.targets", ["(q"].into_iter()).unwrap_err();
        assert!(error.to_string().contains("train.targets"), "{error}");
        assert_eq!(of(&["q", "lm_head"]).idle(4).unwrap().text(), "lm_head");
    }

    #[test]
    fn layers_and_exclusions_narrow_the_choice() {
        let mut targets = of(&["all-linear"]);
        targets.layers = Layers::Last(2);
        targets.excluded = vec![Matcher::word("down").unwrap()];
        let found = selected(&targets);
        assert_eq!(found.len(), 12);
        assert!(
            found.iter().all(|(block, projection)| *block >= 2 && *projection != Projection::Down)
        );
        targets.layers = Layers::These(vec![1]);
        assert_eq!(selected(&targets).len(), 6);
        // PEFT looks at the layers only where a module is named by the end of its path.
        targets.chosen = vec![Matcher::Name("model.layers.3.self_attn.q_proj".to_owned())];
        assert_eq!(selected(&targets), [(3, Projection::Query)]);
    }
}
