//! Evaluations from end to end with a scripted model.

#[cfg(test)]
mod journal;
#[cfg(test)]
mod lm_eval_prompts;
mod owners;
#[cfg(test)]
#[expect(clippy::float_cmp, reason = "these values are exact in doubles, or must be the same bits")]
mod scoring;
#[cfg(test)]
mod scripted;
