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
    /// bitsandbytes' 4-bit normal float (Dettmers et al. 2023), 64 elements in 36 bytes: f32 `absmax`, 32 bytes of two 4-bit
    /// `q`, the first in the upper half; value `code[q]·absmax`. Its files keep codes and scales apart, so this is the one
    /// layout of our own, which `bitsandbytes.rs` makes when a tensor is first asked for.
    NF4,
}

/// The names that error messages list.
pub(crate) const SUPPORTED_GGML: &str =
    "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K";
/// The same for safetensors files.
pub(crate) const SUPPORTED_SAFETENSORS: &str = "F32, F16, BF16, bitsandbytes NF4";

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
    pub const ALL: [Self; 12] = [
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
        Self::NF4,
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
            Self::NF4 => "NF4",
        }
    }

    /// Elements in one block: 1 for the plain floats. Rows are whole blocks.
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 => 32,
            Self::NF4 => 64,
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
            Self::NF4 => 36,
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

    /// The type's number in a GGUF file; `None` for what ggml does not have.
    pub(crate) fn ggml_number(self) -> Option<u32> {
        GGML_NAMES.iter().find(|(_, name)| *name == self.name()).map(|(number, _)| *number)
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

/// The nearest IEEE half-precision number, ties to even; too large becomes infinite, NaN stays NaN.
#[inline(always)]
pub fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = ((bits >> 16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    let rounded = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude >= 0x4780_0000 {
        // 65536 and more, infinity among them
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        // a normal half: the exponent is moved by 112, and a carry out of the fraction runs into it
        let moved = magnitude - (112 << 23);
        (moved + 0x0fff + ((moved >> 13) & 1)) >> 13
    } else {
        // below 2^-14: added to 0.5, whose last place is 2^-24 there, the sum is rounded as a subnormal half is
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5f32.to_bits()
    };
    sign | rounded as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_nearest_with_ties_to_even() {
        for bits in 0..0x7c00u16 {
            let (low, high) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            assert_eq!(f32_to_f16(low), bits);
            assert_eq!(f32_to_f16(-low), bits | 0x8000);
            // past the largest finite one, the next would be 65536
            let high = if high.is_finite() { high } else { 65_536.0 };
            let middle = f32::midpoint(low, high);
            let even = bits + (bits & 1);
            assert_eq!(f32_to_f16(middle), even, "{bits:04x}");
            assert_eq!(f32_to_f16(f32::from_bits(middle.to_bits() - 1)), bits);
            assert_eq!(f32_to_f16(f32::from_bits(middle.to_bits() + 1)), bits + 1);
        }
        assert_eq!(f32_to_f16(f32::INFINITY), 0x7c00);
        assert_eq!(f32_to_f16(-1e30), 0xfc00);
        assert!(f16_to_f32(f32_to_f16(f32::NAN)).is_nan());
    }

    #[test]
    fn every_type_but_our_own_has_a_number_of_ggmls() {
        for data_type in DataType::ALL {
            let number = data_type.ggml_number();
            assert_eq!(number.is_none(), data_type == DataType::NF4);
            assert!(number.is_none_or(|number| DataType::from_ggml(number) == Ok(data_type)));
        }
    }
}
