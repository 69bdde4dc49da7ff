//! Element types of stored tensors and their block layouts. Main type: [`DataType`].
//!
//! Layouts are those of ggml: a block is a run of elements of one row that share a scale.

/// How the elements of a tensor are stored. All are little-endian. Their values: [`super::blocks`].
#[expect(non_camel_case_types, reason = "ggml's names")]
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
    /// 32 elements in 22 bytes: f16 scale `d`, 32 fifth bits, 16 bytes of the lower four of two `q`; value `d·(q − 16)`.
    Q5_0,
    /// 32 elements in 24 bytes: f16 scale `d`, f16 minimum `m`, then as [`Self::Q5_0`]; value `d·q + m`.
    Q5_1,
    /// 256 elements in 144 bytes: f16 `d`, f16 `dmin`, 6-bit scales `s` and minima `m` for each 32 elements, 4-bit `q`;
    /// value `d·s·q − dmin·m`.
    Q4_K,
    /// 256 elements in 176 bytes: as [`Self::Q4_K`] with 5-bit `q`.
    Q5_K,
    /// 256 elements in 210 bytes: 6-bit `q`, i8 scale `s` for each 16 elements, f16 `d`; value `d·s·(q − 32)`.
    Q6_K,
}

/// The names that error messages list.
pub(crate) const SUPPORTED_GGML: &str =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";
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
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
    ];

    /// The name in ggml's and safetensors' spelling.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
        }
    }

    /// Elements in one block: 1 for the plain floats. Rows are whole blocks.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
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
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
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
}

/// The value of an IEEE half-precision number. Exact. Written without branches, so that loops over it are vectorised.
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits & 0x3ff);
    // zero and subnormals: fraction · 2^-24, exact in f32
    let small = (fraction as f32 * f32::from_bits(103 << 23)).to_bits();
    let bias = if exponent == 31 { 224 } else { 112 };
    let normal = ((exponent + bias) << 23) | (fraction << 13);
    f32::from_bits(sign | if exponent == 0 { small } else { normal })
}
