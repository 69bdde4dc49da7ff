//! From templates' segments to token ids: [`encode_rendered`], the one way in which prompts and training examples are read.

use bioinstruct_core::template::{Rendered, Segment};

use crate::tokenizer::Tokenizer;

/// The ids of a rendered prompt or example, each with whether the loss covers it.
///
/// Neighbouring text segments of one kind are tokenized together; learned and given text are tokenized apart, so that an
/// answer has the same ids in training as after its prompt. A control segment is its token, whatever text is around it.
/// The beginning-of-text token comes first when the tokenizer asks for it and the template has not put it there. A model
/// without an end-of-text token gets none.
pub fn encode_rendered(tokenizer: &Tokenizer, rendered: &Rendered) -> Vec<(u32, bool)> {
    let mut ids = Vec::new();
    let mut pending = Pending::default();
    for segment in &rendered.segments {
        match segment {
            Segment::Text { text, learned } => {
                if *learned != pending.learned {
                    pending.flush(tokenizer, &mut ids);
                    pending.learned = *learned;
                }
                pending.text.push_str(text);
            }
            Segment::Control { token, learned } => {
                pending.flush(tokenizer, &mut ids);
                match control_id(tokenizer, token) {
                    Some(id) => ids.push((id, *learned)),
                    // Another model's template: what it means is unknown here, so it is what it looks like.
                    None => ids
                        .extend(tokenizer.encode_text(token).into_iter().map(|id| (id, *learned))),
                }
            }
            Segment::EndOfSequence { learned } => {
                pending.flush(tokenizer, &mut ids);
                ids.extend(tokenizer.eos().map(|id| (id, *learned)));
            }
        }
    }
    pending.flush(tokenizer, &mut ids);
    if let Some(bos) = leading_bos(tokenizer, ids.first().map(|(id, _)| *id)) {
        ids.insert(0, (bos, false));
    }
    ids
}

/// The beginning-of-text token, when the tokenizer asks for it and `first` is not it.
pub(super) fn leading_bos(tokenizer: &Tokenizer, first: Option<u32>) -> Option<u32> {
    tokenizer.bos().filter(|bos| tokenizer.adds_bos() && first != Some(*bos))
}

fn control_id(tokenizer: &Tokenizer, name: &str) -> Option<u32> {
    tokenizer.control_tokens().iter().find(|(text, _)| text == name).map(|(_, id)| *id)
}

/// Text that has not been tokenized yet.
#[derive(Default)]
struct Pending {
    text: String,
    learned: bool,
}

impl Pending {
    fn flush(&mut self, tokenizer: &Tokenizer, ids: &mut Vec<(u32, bool)>) {
        if !self.text.is_empty() {
            ids.extend(tokenizer.encode_text(&self.text).into_iter().map(|id| (id, self.learned)));
            self.text.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tokenizer() -> Tokenizer {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures/tiny-llama/tokenizer.json");
        Tokenizer::from_file(&path).unwrap()
    }

    fn text(text: &str, learned: bool) -> Segment {
        Segment::Text { text: text.to_owned(), learned }
    }

    fn control(token: &str, learned: bool) -> Segment {
        Segment::Control { token: token.to_owned(), learned }
    }

    fn given(ids: Vec<u32>, learned: bool) -> Vec<(u32, bool)> {
        ids.into_iter().map(|id| (id, learned)).collect()
    }

    #[test]
    fn neighbours_of_one_kind_are_tokenized_together() {
        let tokenizer = tokenizer();
        let rendered = Rendered { segments: vec![text("The pat", false), text("ient is", false)] };
        assert_eq!(
            encode_rendered(&tokenizer, &rendered),
            given(tokenizer.encode_text("The patient is"), false)
        );
        let rendered = Rendered { segments: vec![text("The pat", false), text("ient is", true)] };
        let apart = [
            given(tokenizer.encode_text("The pat"), false),
            given(tokenizer.encode_text("ient is"), true),
        ];
        assert_eq!(encode_rendered(&tokenizer, &rendered), apart.concat());
    }

    #[test]
    fn control_tokens_are_ids_and_their_names_in_text_are_text() {
        let tokenizer = tokenizer();
        let (bos, eos) = (tokenizer.bos().unwrap(), tokenizer.eos().unwrap());
        let rendered = Rendered {
            segments: vec![
                control("<|im_start|>", false),
                text("user\n<|im_end|>", false),
                control("<|im_end|>", true),
                Segment::EndOfSequence { learned: true },
            ],
        };
        let ids = encode_rendered(&tokenizer, &rendered);
        let inner = &ids[1..ids.len() - 2];
        assert_eq!(ids[0], (bos, false));
        assert_eq!(ids[ids.len() - 2..], [(eos, true), (eos, true)]);
        assert_eq!(inner, given(tokenizer.encode_text("user\n<|im_end|>"), false));
        assert!(inner.iter().all(|(id, _)| !tokenizer.is_control(*id)));
    }

    #[test]
    fn unknown_control_tokens_are_read_as_text() {
        let tokenizer = tokenizer();
        let rendered = Rendered { segments: vec![control("[INST]", false)] };
        assert_eq!(
            encode_rendered(&tokenizer, &rendered),
            given(tokenizer.encode_text("[INST]"), false)
        );
    }
}
