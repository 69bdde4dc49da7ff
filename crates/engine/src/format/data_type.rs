//! Element types of stored tensors and their block layouts. Main type: [`DataType`].
//!
//! Layouts are those of ggml: a block is a run of elements of one row that share a scale.

/// How the elements of a tensor are stored. All are little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataType {
    /// 32-bit float.
    F32,
    /// 16-bit IEEE float.
    F16,
    /// The upper half of a 32-bit float.
    BF16,
    /// 32 elements in 34 bytes: f16 scale `d`, 32 × i8 `q`; value `d·q`.
    Q8_0,
    /// 32 elements in 18 bytes: f16 scale `d`, 16 bytes of two 4-bit `q`; value `d·(q − 8)`.
    Q4_0,
    /// 32 elements in 20 bytes: f16 scale `d`, f16 minimum `m`, 16 bytes of two 4-bit `q`; value `d·q + m`.
    Q4_1,
}

/// The names that error messages list.
pub(crate) const SUPPORTED_GGML: &str = "F32, F16, BF16, Q8_0, Q4_0, Q4_1";
/// The same for safetensors files.
pub(crate) const SUPPORTED_SAFETENSORS: &str = "F32, F16, BF16";

/// Numbers and names of ggml's types, so that a type that is not read can be refused by name.
const GGML_NAMES: &[(u32, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "Q4_2 (removed from ggml)"),
    (5, "Q4_3 (removed from ggml)"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (31, "Q4_0_4_4 (removed from ggml)"),
    (32, "Q4_0_4_8 (removed from ggml)"),
    (33, "Q4_0_8_8 (removed from ggml)"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl DataType {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0, Self::Q4_1];

    /// The name in ggml's and safetensors' spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
        }
    }

    /// Elements in one block: 1 for the plain floats. Rows are whole blocks.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
        }
    }

    /// Bytes of one block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
        }
    }

    /// Bytes of a row of `columns` elements. `columns` is a multiple of [`Self::block_elements`].
    pub fn row_bytes(self, columns: usize) -> usize {
        columns / self.block_elements() * self.block_bytes()
    }

    /// The type with this number in a GGUF file, or the name to refuse it by.
    pub(crate) fn from_ggml(number: u32) -> Result<Self, String> {
        let name = GGML_NAMES.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
        let read = Self::ALL.into_iter().find(|data_type| Some(data_type.name()) == name);
        read.ok_or_else(|| name.map_or_else(|| format!("ggml type {number}"), str::to_string))
    }

    /// Writes the elements of `stored` (whole blocks) to `values`, as f32.
    ///
    /// `values.len()` is a multiple of the block, and `stored` exactly as long as it needs.
    pub(crate) fn decode(self, stored: &[u8], values: &mut [f32]) {
        debug_assert_eq!(stored.len(), self.row_bytes(values.len()));
        match self {
            Self::F32 => each(stored, values, |b: &[u8; 4]| f32::from_le_bytes(*b)),
            Self::F16 => each(stored, values, |b: &[u8; 2]| f16_to_f32(u16::from_le_bytes(*b))),
            Self::BF16 => each(stored, values, |b: &[u8; 2]| {
                f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16)
            }),
            Self::Q8_0 => blocks(stored, values, |block: &[u8; 34], out| {
                let scale = half(block, 0);
                for (value, quant) in out.iter_mut().zip(&block[2..]) {
                    *value = scale * f32::from(quant.cast_signed());
                }
            }),
            Self::Q4_0 => blocks(stored, values, |block: &[u8; 18], out| {
                nibbles(&block[2..], half(block, 0), -8.0 * half(block, 0), out);
            }),
            Self::Q4_1 => blocks(stored, values, |block: &[u8; 20], out| {
                nibbles(&block[4..], half(block, 0), half(block, 2), out);
            }),
        }
    }
}

fn each<const N: usize>(stored: &[u8], values: &mut [f32], convert: impl Fn(&[u8; N]) -> f32) {
    for (bytes, value) in stored.as_chunks::<N>().0.iter().zip(values) {
        *value = convert(bytes);
    }
}

fn blocks<const N: usize>(
    stored: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; N], &mut [f32; 32]),
) {
    for (block, out) in stored.as_chunks::<N>().0.iter().zip(values.as_chunks_mut::<32>().0) {
        decode(block, out);
    }
}

/// Low nibbles are elements 0..16, high ones 16..32. `scale·q` and the sum are rounded separately, as in ggml.
fn nibbles(quants: &[u8], scale: f32, offset: f32, out: &mut [f32; 32]) {
    let (low, high) = out.split_at_mut(16);
    for ((byte, low), high) in quants.iter().zip(low).zip(high) {
        *low = scale * f32::from(byte & 15) + offset;
        *high = scale * f32::from(byte >> 4) + offset;
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// The value of an IEEE half-precision number. Exact.
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits & 0x3ff);
    let magnitude = match exponent {
        // zero and subnormals: fraction · 2^-24, exact in f32
        0 => (fraction as f32 * f32::from_bits(103 << 23)).to_bits(),
        31 => 0x7f80_0000 | (fraction << 13),
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
}
