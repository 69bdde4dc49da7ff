//! A weight in bitsandbytes' 4-bit normal float with double quantisation, as it is stored. Main type: [`NormalFloat`].

use std::collections::BTreeMap;

use serde_json::json;

use crate::format::Announced;
use crate::format::blocks::CODE;
use crate::format::quantise::nearest_code;

/// Elements that share a scale, and scales that share theirs.
const BLOCK: usize = 64;
const OUTER_BLOCK: usize = 256;
/// Bytes of the state's JSON, filled up with spaces: it is announced before its numbers are known.
const STATE_BYTES: usize = 256;
/// What follows the weight's name in those of its companions.
const ENDINGS: [&str; 5] = [
    ".absmax",
    ".nested_absmax",
    ".nested_quant_map",
    ".quant_map",
    ".quant_state.bitsandbytes__nf4",
];

/// The six tensors of one quantised weight, by their endings; the codes have none.
pub(super) struct NormalFloat {
    parts: BTreeMap<&'static str, Vec<u8>>,
}

impl NormalFloat {
    /// What a file announces of a weight of this shape, whose elements are whole blocks.
    pub(super) fn announce(name: &str, shape: &[usize]) -> Vec<Announced> {
        let elements: usize = shape.iter().product();
        let blocks = elements / BLOCK;
        let part = |ending: &str, type_name: &'static str, shape: Vec<usize>| Announced {
            name: format!("{name}{ending}"),
            type_name,
            bytes: shape.iter().product::<usize>() * if type_name == "F32" { 4 } else { 1 },
            shape,
        };
        vec![
            part("", "U8", vec![elements / 2, 1]),
            part(".absmax", "U8", vec![blocks]),
            part(".nested_absmax", "F32", vec![blocks.div_ceil(OUTER_BLOCK)]),
            part(".nested_quant_map", "F32", vec![256]),
            part(".quant_map", "F32", vec![16]),
            part(".quant_state.bitsandbytes__nf4", "U8", vec![STATE_BYTES]),
        ]
    }

    /// The weight and the ending that the name of a stored tensor is made of.
    pub(super) fn split(name: &str) -> (&str, &'static str) {
        ENDINGS
            .into_iter()
            .find_map(|ending| Some((name.strip_suffix(ending)?, ending)))
            .unwrap_or((name, ""))
    }

    /// From blocks of 36 bytes (scale, codes).
    pub(super) fn new(blocks: &[u8], shape: &[usize]) -> Self {
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        for block in blocks.as_chunks::<36>().0 {
            scales.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]]));
            codes.extend(&block[4..]);
        }
        let map = dynamic_map();
        let offset = mean(&scales);
        let (mut bytes, mut outer) = (Vec::with_capacity(scales.len()), Vec::new());
        for block in scales.chunks(OUTER_BLOCK) {
            let largest =
                block.iter().fold(0.0f32, |so_far, scale| so_far.max((scale - offset).abs()));
            let inverse = if largest == 0.0 { 0.0 } else { 1.0 / largest };
            bytes.extend(block.iter().map(|scale| nearest_code(&map, (scale - offset) * inverse)));
            outer.push(largest);
        }
        let state = json!({
            "quant_type": "nf4", "blocksize": BLOCK, "dtype": "bfloat16", "shape": shape,
            "nested_blocksize": OUTER_BLOCK, "nested_dtype": "float32", "nested_offset": f64::from(offset),
        });
        let mut state = state.to_string().into_bytes();
        state.resize(STATE_BYTES, b' ');
        let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let parts = BTreeMap::from([
            ("", codes),
            (".absmax", bytes),
            (".nested_absmax", floats(&outer)),
            (".nested_quant_map", floats(&map)),
            (".quant_map", floats(&CODE)),
            (".quant_state.bitsandbytes__nf4", state),
        ]);
        Self { parts }
    }

    /// The bytes of one of the tensors.
    pub(super) fn part(&self, ending: &str) -> &[u8] {
        self.parts.get(ending).map_or(&[], Vec::as_slice)
    }
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
    (sum / values.len().max(1) as f64) as f32
}

/// The 256 values of the signed dynamic 8-bit type (Dettmers 2015, arXiv 1511.04561): a decimal exponent from -6 to 0 whose
/// length leaves 2^exponent steps for the fraction, from 0.1 to 1; zero and one.
fn dynamic_map() -> Vec<f32> {
    let mut values = vec![0.0f32, 1.0];
    for (exponent, power) in (-6..=0).zip(0u32..) {
        let steps = 1 << power;
        let edge = |at: u32| 0.1 + 0.9 * at as f32 / steps as f32;
        for step in 0..steps {
            let value = 10f32.powi(exponent) * f32::midpoint(edge(step), edge(step + 1));
            values.extend([value, -value]);
        }
    }
    values.sort_by(f32::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dynamic_map_is_whole() {
        let map = dynamic_map();
        assert_eq!(map.len(), 256);
        assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!((map[127], map[255]), (0.0, 1.0));
        assert!((map[254] - 0.992_968_74).abs() < 1e-6);
    }

    /// bitsandbytes' own bytes: see `tests/goldens/formats/make_nf4.py`.
    #[test]
    fn bytes_are_those_of_bitsandbytes() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/goldens/formats/nf4");
        let values =
            crate::format::Safetensors::open(&folder.join("expected.safetensors")).unwrap();
        let values = values.tensor("nested.values").unwrap();
        let shape = values.shape().to_vec();
        let mut blocks = vec![0; crate::format::DataType::NF4.row_bytes(shape.iter().product())];
        crate::format::quantise::quantise(
            crate::format::DataType::NF4,
            &values.to_f32(),
            &mut blocks,
        );
        let ours = NormalFloat::new(&blocks, &shape);
        let bytes = fs_err::read(folder.join("model.safetensors")).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for announced in NormalFloat::announce("nested.weight", &shape) {
            let (_, ending) = NormalFloat::split(&announced.name);
            let expected = theirs.tensor(&announced.name).unwrap();
            let part = ours.part(ending);
            assert_eq!(part.len(), announced.bytes, "{ending}");
            match ending {
                ".quant_state.bitsandbytes__nf4" => {
                    let read =
                        |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
                    let (mut ours, mut theirs) = (read(part), read(expected.data()));
                    assert_eq!(theirs["dtype"].take(), "float32", "what the script quantised");
                    ours["dtype"].take();
                    let offset = |state: &mut serde_json::Value| {
                        state["nested_offset"].take().as_f64().unwrap()
                    };
                    assert!((offset(&mut ours) - offset(&mut theirs)).abs() < 1e-7);
                    assert_eq!(ours, theirs);
                }
                // sums and powers may end in another last digit
                ".nested_absmax" | ".nested_quant_map" => {
                    for (ours, theirs) in
                        part.as_chunks::<4>().0.iter().zip(expected.data().as_chunks::<4>().0)
                    {
                        let (ours, theirs) =
                            (f32::from_le_bytes(*ours), f32::from_le_bytes(*theirs));
                        assert!((ours - theirs).abs() <= 2e-7, "{ending}: {ours} {theirs}");
                    }
                }
                _ => assert_eq!(part, expected.data(), "{ending}"),
            }
        }
    }

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(NormalFloat::split("a.weight"), ("a.weight", ""));
        assert_eq!(NormalFloat::split("a.weight.nested_absmax"), ("a.weight", ".nested_absmax"));
        let announced = NormalFloat::announce("a.weight", &[3, 64]);
        assert_eq!(announced[0].bytes, 96);
        assert_eq!(announced[1].shape, [3]);
    }
}
