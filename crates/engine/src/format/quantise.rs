//! From floats to stored blocks, the way back of [`super::blocks`]. Main function: [`quantise`].
//!
//! Types of 8 bits follow ggml's reference; those of fewer search each block's scale for the least squared error. The bytes
//! depend on the row alone.

mod normal_float;
mod of_256;
mod of_32;
mod scale;

pub(crate) use self::normal_float::nearest_code;
use super::data_type::{DataType, f32_to_f16};
use crate::kernels::lanes::to_bf16;

/// The types that are written.
pub const WRITTEN: [DataType; 8] = [
    DataType::F32,
    DataType::F16,
    DataType::BF16,
    DataType::Q8_0,
    DataType::Q5_0,
    DataType::Q4_K,
    DataType::Q6_K,
    DataType::NF4,
];

/// Writes a row of finite values as it is stored: `bytes` has [`DataType::row_bytes`] of them.
///
/// # Panics
/// When the type is not one of [`WRITTEN`], or the values are not whole blocks that fill `bytes`.
pub fn quantise(data_type: DataType, values: &[f32], bytes: &mut [u8]) {
    let elements = data_type.block_elements();
    assert!(values.len().is_multiple_of(elements), "{} values are not whole blocks", values.len());
    assert_eq!(bytes.len(), data_type.row_bytes(values.len()), "bytes of {} values", values.len());
    match data_type {
        DataType::F32 => each(values, bytes, f32::to_le_bytes),
        DataType::F16 => each(values, bytes, |value| f32_to_f16(value).to_le_bytes()),
        DataType::BF16 => each(values, bytes, |value| to_bf16(value).to_le_bytes()),
        DataType::Q8_0 => blocks(values, bytes, of_32::q8_0),
        DataType::Q5_0 => blocks(values, bytes, of_32::q5_0),
        DataType::Q4_K => blocks(values, bytes, of_256::q4_k),
        DataType::Q6_K => blocks(values, bytes, of_256::q6_k),
        DataType::NF4 => blocks(values, bytes, normal_float::nf4),
        DataType::Q4_0 | DataType::Q4_1 | DataType::Q5_1 | DataType::Q5_K => {
            panic!("{} is not written", data_type.name())
        }
    }
}

fn each<const N: usize>(values: &[f32], bytes: &mut [u8], convert: impl Fn(f32) -> [u8; N]) {
    for (value, bytes) in values.iter().zip(bytes.as_chunks_mut::<N>().0) {
        *bytes = convert(*value);
    }
}

fn blocks<const VALUES: usize, const BYTES: usize>(
    values: &[f32],
    bytes: &mut [u8],
    block: impl Fn(&[f32; VALUES], &mut [u8; BYTES]),
) {
    let blocks = bytes.as_chunks_mut::<BYTES>().0;
    for (values, bytes) in values.as_chunks::<VALUES>().0.iter().zip(blocks) {
        block(values, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::blocks::dequantise;
    use super::*;
    use bioinstruct_core::random::Stream;

    fn round_trip(data_type: DataType, values: &[f32]) -> Vec<f32> {
        let mut bytes = vec![0xAA; data_type.row_bytes(values.len())];
        quantise(data_type, values, &mut bytes);
        let mut read = vec![0.0; values.len()];
        dequantise(data_type, &bytes, &mut read);
        read
    }

    /// Roughly normal values, as weights are.
    fn weights(count: usize, seed: u64) -> Vec<f32> {
        let mut draws = Stream::new(seed, "quantise").at(0);
        (0..count)
            .map(|_| ((0..6).map(|_| draws.unit()).sum::<f64>() - 3.0) as f32 * 0.05)
            .collect()
    }

    #[test]
    fn errors_are_what_the_bits_allow() {
        let values = weights(4096, 1);
        let size = values.iter().map(|value| value * value).sum::<f32>();
        for (data_type, greatest) in [
            (DataType::F32, 0.0),
            (DataType::F16, 1e-3),
            (DataType::BF16, 4e-3),
            (DataType::Q8_0, 0.008),
            (DataType::Q6_K, 0.03),
            (DataType::Q5_0, 0.05),
            (DataType::Q4_K, 0.09),
            (DataType::NF4, 0.11),
        ] {
            let read = round_trip(data_type, &values);
            let error: f32 =
                values.iter().zip(&read).map(|(left, right)| (left - right).powi(2)).sum();
            let relative = (error / size).sqrt();
            assert!(relative <= greatest, "{} errs by {relative}", data_type.name());
        }
    }

    #[test]
    fn what_a_block_can_hold_it_holds() {
        for data_type in WRITTEN {
            assert_eq!(round_trip(data_type, &[0.0; 256]), [0.0; 256], "{}", data_type.name());
            // what was read once is written to the same values again
            let once = round_trip(data_type, &weights(512, 2));
            let twice = round_trip(data_type, &once);
            let differ = once.iter().zip(&twice).map(|(left, right)| (left - right).abs());
            let step = if data_type == DataType::Q4_K { 0.02 } else { 0.002 };
            assert!(differ.fold(0.0, f32::max) <= step, "{}", data_type.name());
        }
        // one sign only, an outlier, and values too small for a half-precision scale
        for values in [[0.5f32; 256], [-3.0; 256], [1e-9; 256]] {
            for data_type in WRITTEN {
                let read = round_trip(data_type, &values);
                let near = |(left, right): (&f32, &f32)| (left - right).abs() <= 0.04 * left.abs();
                let tiny = values[0] < 1e-7 && data_type != DataType::F32;
                assert!(
                    tiny && read.iter().all(|value| value.abs() < 1e-6)
                        || values.iter().zip(&read).all(near),
                    "{} {read:?}",
                    data_type.name()
                );
            }
        }
    }
}
