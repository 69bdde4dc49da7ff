//! [`Panels`]: one side of a matrix product, cut into strips of 32 columns whose values lie in the order the inner loop
//! reads them.

use std::ops::Range;

use super::threads::Threads;

/// Columns of a strip: two AVX-512 registers.
pub const STRIP: usize = 32;

/// How a frozen weight is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit floats: the reference.
    F32,
    /// The upper half of a 32-bit float, rounded to nearest even; arithmetic stays in 32 bits.
    Bf16,
}

impl Precision {
    /// The name used on the command line and in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// The values of a (k, n) matrix; strip `s` holds columns `32 s ..`, value (i, j) of a strip at `32 i + j`.
///
/// Columns past `n` are zero.
#[derive(Debug)]
pub struct Panels {
    /// Length of the dot products.
    pub k: usize,
    /// Columns.
    pub n: usize,
    /// The strips, one after the other.
    pub values: PanelValues,
}

/// Storage of [`Panels`].
#[derive(Debug)]
pub enum PanelValues {
    /// As they are.
    F32(Vec<f32>),
    /// Rounded to the upper 16 bits.
    Bf16(Vec<u16>),
}

/// The nearest bfloat16, ties to even; NaN stays NaN.
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    let rounding = 0x7FFF + ((bits >> 16) & 1);
    (bits.wrapping_add(rounding) >> 16) as u16
}

/// The value of a bfloat16.
#[inline]
pub fn from_bf16(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

impl Panels {
    /// All zeros.
    pub fn zeros(k: usize, n: usize, precision: Precision) -> Self {
        let length = n.div_ceil(STRIP) * STRIP * k;
        let values = match precision {
            Precision::F32 => PanelValues::F32(vec![0.0; length]),
            Precision::Bf16 => PanelValues::Bf16(vec![0; length]),
        };
        Self { k, n, values }
    }

    /// Packs a strided matrix: value (i, j) is `source[i * k_stride + j * n_stride]`. Reuses the allocation.
    pub fn pack(&mut self, k: usize, n: usize, source: &[f32], k_stride: usize, n_stride: usize) {
        let length = n.div_ceil(STRIP) * STRIP * k;
        let mut values = match std::mem::replace(&mut self.values, PanelValues::F32(Vec::new())) {
            PanelValues::F32(values) => values,
            PanelValues::Bf16(_) => Vec::new(),
        };
        values.clear();
        values.resize(length, 0.0);
        for (strip, out) in values.chunks_mut(STRIP * k.max(1)).enumerate() {
            let first = strip * STRIP;
            let columns = (n - first).min(STRIP);
            for (row, out) in out.chunks_mut(STRIP).enumerate() {
                for (column, value) in out[..columns].iter_mut().enumerate() {
                    *value = source[row * k_stride + (first + column) * n_stride];
                }
            }
        }
        *self = Self { k, n, values: PanelValues::F32(values) };
    }

    /// Writes columns from `first` (a multiple of 32) on; `source` holds them one after the other, `k` values each.
    pub fn set_columns(&mut self, threads: &Threads, first: usize, source: &[f32]) {
        let k = self.k;
        let start = first / STRIP * STRIP * k;
        let length = (source.len() / k.max(1)).div_ceil(STRIP) * STRIP * k;
        let column =
            |strip: usize, column: usize| source.get((strip * STRIP + column) * k..).unwrap_or(&[]);
        match &mut self.values {
            PanelValues::F32(values) => {
                threads.for_rows(&mut values[start..start + length], STRIP * k, 1, |strip, out| {
                    for lane in 0..STRIP {
                        for (row, value) in column(strip.start, lane).iter().take(k).enumerate() {
                            out[row * STRIP + lane] = *value;
                        }
                    }
                });
            }
            PanelValues::Bf16(values) => {
                for (strip, out) in
                    values[start..start + length].chunks_mut(STRIP * k.max(1)).enumerate()
                {
                    for lane in 0..STRIP {
                        for (row, value) in column(strip, lane).iter().take(k).enumerate() {
                            out[row * STRIP + lane] = to_bf16(*value);
                        }
                    }
                }
            }
        }
    }

    /// Writes one row (`n` values).
    pub fn set_row(&mut self, row: usize, source: &[f32]) {
        for (strip, part) in source.chunks(STRIP).enumerate() {
            let start = strip * STRIP * self.k + row * STRIP;
            match &mut self.values {
                PanelValues::F32(values) => values[start..start + part.len()].copy_from_slice(part),
                PanelValues::Bf16(values) => {
                    for (out, &value) in values[start..].iter_mut().zip(part) {
                        *out = to_bf16(value);
                    }
                }
            }
        }
    }

    /// Reads one column (`k` values).
    pub fn column(&self, column: usize, out: &mut [f32]) {
        let start = (column / STRIP) * STRIP * self.k + column % STRIP;
        match &self.values {
            PanelValues::F32(values) => {
                for (row, value) in out.iter_mut().enumerate() {
                    *value = values[start + row * STRIP];
                }
            }
            PanelValues::Bf16(values) => {
                for (row, value) in out.iter_mut().enumerate() {
                    *value = from_bf16(values[start + row * STRIP]);
                }
            }
        }
    }

    /// How many strips there are.
    pub fn strips(&self) -> usize {
        self.n.div_ceil(STRIP)
    }

    /// The columns of one strip.
    pub fn strip_columns(&self, strip: usize) -> Range<usize> {
        strip * STRIP..((strip + 1) * STRIP).min(self.n)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        match &self.values {
            PanelValues::F32(values) => values.len() * 4,
            PanelValues::Bf16(values) => values.len() * 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bfloat16_rounds_to_nearest_even() {
        assert_eq!(from_bf16(to_bf16(1.0)), 1.0);
        assert_eq!(to_bf16(f32::from_bits(0x3F80_8000)), 0x3F80, "a tie goes to the even side");
        assert_eq!(to_bf16(f32::from_bits(0x3F81_8000)), 0x3F82, "a tie goes to the even side");
        assert_eq!(to_bf16(f32::from_bits(0x3F80_8001)), 0x3F81);
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan());
        assert_eq!(from_bf16(to_bf16(f32::NEG_INFINITY)), f32::NEG_INFINITY);
    }

    #[test]
    fn rows_and_columns_meet() {
        let (k, n) = (3, 40);
        let source: Vec<f32> = (0..k * n).map(|value| value as f32).collect();
        let mut packed = Panels::zeros(0, 0, Precision::F32);
        packed.pack(k, n, &source, n, 1);
        let mut by_rows = Panels::zeros(k, n, Precision::Bf16);
        for row in 0..k {
            by_rows.set_row(row, &source[row * n..(row + 1) * n]);
        }
        let (mut first, mut second) = (vec![0.0; k], vec![0.0; k]);
        for column in 0..n {
            packed.column(column, &mut first);
            by_rows.column(column, &mut second);
            let expected: Vec<f32> = (0..k).map(|row| source[row * n + column]).collect();
            assert_eq!(first, expected);
            assert_eq!(second, expected);
        }
    }
}
