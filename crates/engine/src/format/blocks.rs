//! Block layouts of stored tensors and their values. Main function: [`dequantise_part`].
//!
//! Every layout is read in parts of 32 values, so a product can dequantise just the columns that it multiplies. The values
//! are ggml's to the last bit, on every [`KernelPath`]: each multiplication and each sum is rounded on its own.

mod normal_float;
mod of_256;
mod of_32;

pub(crate) use self::normal_float::CODE;
use super::data_type::{DataType, f16_to_f32};
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch};

/// Values in a part: the smallest block, and the step at which rows may be entered.
pub const PART: usize = 32;

/// A block of `BYTES` bytes that holds [`Self::PARTS`] × 32 consecutive values of a row.
trait Layout<const BYTES: usize> {
    /// Parts in a block.
    const PARTS: usize;

    /// Writes the values of one part.
    fn part(block: &[u8; BYTES], part: usize, values: &mut [f32; PART]);
}

/// Writes the values `start..start + values.len()` of a row to `values`.
///
/// `row` holds the whole row as it is stored (`data_type.row_bytes(columns)` bytes); `start` is a multiple of 32, and
/// so is `values.len()`, unless the type is a plain float, for which both may be any number.
///
/// # Panics
/// When `start` or the length is not such a multiple, or the part reaches beyond the row.
pub fn dequantise_part(
    data_type: DataType,
    path: KernelPath,
    row: &[u8],
    start: usize,
    values: &mut [f32],
) {
    if data_type.block_elements() > 1 {
        let whole = start.is_multiple_of(PART) && values.len().is_multiple_of(PART);
        assert!(whole, "{} from {start} are not whole parts of 32", values.len());
    }
    convert(path, data_type, row, start, values);
}

/// [`dequantise_part`] with the fastest instructions of this processor, which change no value.
pub(crate) fn dequantise(data_type: DataType, row: &[u8], values: &mut [f32]) {
    let path = KernelPath::ALL.into_iter().rev().find(|path| path.available());
    dequantise_part(data_type, path.unwrap_or(KernelPath::Portable), row, 0, values);
}

dispatch!(fn convert = convert_body(data_type: DataType, row: &[u8], start: usize, values: &mut [f32]));

#[inline(always)]
#[expect(clippy::extra_unused_type_parameters, reason = "no multiply-add: one value on every path")]
fn convert_body<A: Arithmetic>(data_type: DataType, row: &[u8], start: usize, values: &mut [f32]) {
    match data_type {
        DataType::F32 => each(row, start, values, |bytes: &[u8; 4]| f32::from_le_bytes(*bytes)),
        DataType::F16 => {
            each(row, start, values, |bytes: &[u8; 2]| f16_to_f32(u16::from_le_bytes(*bytes)));
        }
        DataType::BF16 => each(row, start, values, |bytes: &[u8; 2]| {
            f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16)
        }),
        DataType::Q8_0 => parts::<34, of_32::Q8_0>(row, start, values),
        DataType::Q4_0 => parts::<18, of_32::Q4_0>(row, start, values),
        DataType::Q4_1 => parts::<20, of_32::Q4_1>(row, start, values),
        DataType::Q5_0 => parts::<22, of_32::Q5_0>(row, start, values),
        DataType::Q5_1 => parts::<24, of_32::Q5_1>(row, start, values),
        DataType::Q4_K => parts::<144, of_256::Q4_K>(row, start, values),
        DataType::Q5_K => parts::<176, of_256::Q5_K>(row, start, values),
        DataType::Q6_K => parts::<210, of_256::Q6_K>(row, start, values),
        DataType::NF4 => parts::<36, normal_float::NF4>(row, start, values),
    }
}

#[inline(always)]
fn each<const N: usize>(
    row: &[u8],
    start: usize,
    values: &mut [f32],
    convert: impl Fn(&[u8; N]) -> f32,
) {
    let stored = &row.as_chunks::<N>().0[start..start + values.len()];
    for (bytes, value) in stored.iter().zip(values) {
        *value = convert(bytes);
    }
}

#[inline(always)]
fn parts<const BYTES: usize, L: Layout<BYTES>>(row: &[u8], start: usize, values: &mut [f32]) {
    let blocks = row.as_chunks::<BYTES>().0;
    for (index, values) in values.as_chunks_mut::<PART>().0.iter_mut().enumerate() {
        let part = start / PART + index;
        L::part(&blocks[part / L::PARTS], part % L::PARTS, values);
    }
}

/// The half-precision number at byte `at` of a block.
#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_on_any_path_equals_the_whole_row() {
        let columns = 512;
        for data_type in DataType::ALL {
            let row: Vec<u8> = (0..data_type.row_bytes(columns) as u32)
                .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
                .collect();
            let mut whole = vec![0.0; columns];
            dequantise_part(data_type, KernelPath::Portable, &row, 0, &mut whole);
            for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
                for (start, length) in
                    [(0, 512), (32, 32), (96, 224), (480, 32), (256, 256), (64, 0)]
                {
                    let mut part = vec![1.0; length];
                    dequantise_part(data_type, path, &row, start, &mut part);
                    let bits =
                        |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                    assert_eq!(
                        bits(&part),
                        bits(&whole[start..start + length]),
                        "{data_type:?} {path:?} {start}"
                    );
                }
            }
        }
        let mut odd = [0.0; 3];
        dequantise_part(
            DataType::F16,
            KernelPath::Portable,
            &[0, 0, 0, 0x3c, 0, 0x40, 0, 0x42],
            1,
            &mut odd,
        );
        assert_eq!(odd, [1.0, 2.0, 3.0]);
    }

    #[test]
    #[should_panic(expected = "not whole parts")]
    fn a_part_starts_at_a_multiple_of_32() {
        let row = vec![0; DataType::Q4_K.row_bytes(256)];
        dequantise_part(DataType::Q4_K, KernelPath::Portable, &row, 16, &mut [0.0; 32]);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_part_ends_inside_the_row() {
        let row = vec![0; DataType::Q8_0.row_bytes(64)];
        dequantise_part(DataType::Q8_0, KernelPath::Portable, &row, 32, &mut [0.0; 64]);
    }
}
