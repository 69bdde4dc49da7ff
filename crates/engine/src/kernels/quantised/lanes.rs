//! [`Lanes`]: what a product of quantised blocks asks of the processor, and its definition for one row at a time ([`One`]).
//!
//! A lane is a row of the weights. Integers are exact and each float operation is rounded on its own, so every
//! implementation gives the same bits.

#![expect(
    unsafe_code,
    reason = "rows are read through pointers, with instructions that the caller has checked"
)]

use crate::format::f16_to_f32;

/// Rows of a matrix that lie `stride` bytes apart.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) first: *const u8,
    pub(super) stride: usize,
}

impl Rows {
    /// Byte `offset` of row `row`.
    #[inline(always)]
    pub(super) fn at(self, row: usize, offset: usize) -> *const u8 {
        self.first.wrapping_add(row * self.stride + offset)
    }

    /// The same rows, entered `offset` bytes later.
    #[inline(always)]
    pub(super) fn skip(self, offset: usize) -> Self {
        Self { first: self.first.wrapping_add(offset), stride: self.stride }
    }
}

/// Arithmetic on one 32-bit word of each of [`Self::ROWS`] rows.
///
/// # Safety
/// Every function needs the implementation's instructions; those that take [`Rows`] also that the bytes they name are
/// readable in [`Self::ROWS`] rows.
pub(super) trait Lanes {
    /// How many rows are worked on at once.
    const ROWS: usize;
    /// What [`Self::dot_signed`] adds to each signed byte: its sum is greater by so much times the sum of the activations.
    const SIGNED_BIAS: i32;
    /// A 32-bit integer of each row.
    type Words: Copy;
    /// A float of each row.
    type Floats: Copy;

    /// Two bytes of each row, read as half-precision numbers.
    unsafe fn halves(rows: Rows, offset: usize) -> Self::Floats;
    /// Four bytes of each row.
    unsafe fn words(rows: Rows, offset: usize) -> Self::Words;
    /// Sixteen bytes of each row: the first four, the second four, …
    unsafe fn quads(rows: Rows, offset: usize) -> [Self::Words; 4];
    /// The lower 16 bits as a half-precision number.
    unsafe fn half(words: Self::Words) -> Self::Floats;
    /// The same integer in each lane.
    unsafe fn splat(value: i32) -> Self::Words;
    unsafe fn and(a: Self::Words, b: Self::Words) -> Self::Words;
    unsafe fn or(a: Self::Words, b: Self::Words) -> Self::Words;
    /// Shifted right, zeros from the left.
    unsafe fn right<const BITS: u32>(a: Self::Words) -> Self::Words;
    unsafe fn add_words(a: Self::Words, b: Self::Words) -> Self::Words;
    /// The lower 32 bits of the product.
    unsafe fn multiply_words(a: Self::Words, b: Self::Words) -> Self::Words;
    /// `sum` + Σ of the four products of an unsigned byte (at most 63) and a signed one (at least -127).
    unsafe fn dot(sum: Self::Words, unsigned: Self::Words, signed: [i8; 4]) -> Self::Words;
    /// The same with weights that are signed, too, each seen as greater by [`Self::SIGNED_BIAS`].
    unsafe fn dot_signed(sum: Self::Words, weights: Self::Words, signed: [i8; 4]) -> Self::Words;
    /// [`Self::dot`] of several words: two sums, so that one need not wait for the other.
    #[inline(always)]
    unsafe fn dots<const WORDS: usize>(
        sum: Self::Words,
        unsigned: &[Self::Words; WORDS],
        signed: &[[i8; 4]; WORDS],
    ) -> Self::Words {
        // SAFETY: by the contract.
        unsafe {
            let (mut even, mut odd) = (sum, Self::splat(0));
            for word in 0..WORDS / 2 {
                even = Self::dot(even, unsigned[2 * word], signed[2 * word]);
                odd = Self::dot(odd, unsigned[2 * word + 1], signed[2 * word + 1]);
            }
            Self::add_words(even, odd)
        }
    }

    /// [`Self::dot_signed`] of several words.
    #[inline(always)]
    unsafe fn dots_signed<const WORDS: usize>(
        sum: Self::Words,
        weights: &[Self::Words; WORDS],
        signed: &[[i8; 4]; WORDS],
    ) -> Self::Words {
        // SAFETY: by the contract.
        unsafe {
            let (mut even, mut odd) = (sum, Self::splat(0));
            for word in 0..WORDS / 2 {
                even = Self::dot_signed(even, weights[2 * word], signed[2 * word]);
                odd = Self::dot_signed(odd, weights[2 * word + 1], signed[2 * word + 1]);
            }
            Self::add_words(even, odd)
        }
    }

    /// Signed integers as floats.
    unsafe fn to_floats(words: Self::Words) -> Self::Floats;
    /// The same float in each lane.
    unsafe fn splat_float(value: f32) -> Self::Floats;
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// Writes the float of each row.
    unsafe fn store(floats: Self::Floats, out: &mut [f32]);

    /// Asks for a line of memory, which need not exist.
    #[inline(always)]
    fn prefetch(_line: *const u8) {}
}

/// One row in plain Rust: the definition, and the path of rows that fill no register.
pub(super) struct One;

impl Lanes for One {
    const ROWS: usize = 1;
    const SIGNED_BIAS: i32 = 0;
    type Words = i32;
    type Floats = f32;

    #[inline(always)]
    unsafe fn halves(rows: Rows, offset: usize) -> f32 {
        // SAFETY: readable by the contract; an array of bytes has no alignment.
        f16_to_f32(u16::from_le_bytes(unsafe { rows.at(0, offset).cast::<[u8; 2]>().read() }))
    }

    #[inline(always)]
    unsafe fn words(rows: Rows, offset: usize) -> i32 {
        // SAFETY: as above.
        i32::from_le_bytes(unsafe { rows.at(0, offset).cast::<[u8; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn quads(rows: Rows, offset: usize) -> [i32; 4] {
        // SAFETY: as above, at four places inside the sixteen bytes.
        [0, 4, 8, 12].map(|at| unsafe { Self::words(rows, offset + at) })
    }

    #[inline(always)]
    unsafe fn half(words: i32) -> f32 {
        f16_to_f32(words as u16)
    }

    #[inline(always)]
    unsafe fn splat(value: i32) -> i32 {
        value
    }

    #[inline(always)]
    unsafe fn and(a: i32, b: i32) -> i32 {
        a & b
    }

    #[inline(always)]
    unsafe fn or(a: i32, b: i32) -> i32 {
        a | b
    }

    #[inline(always)]
    unsafe fn right<const BITS: u32>(a: i32) -> i32 {
        (a.cast_unsigned() >> BITS).cast_signed()
    }

    #[inline(always)]
    unsafe fn add_words(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    #[inline(always)]
    unsafe fn multiply_words(a: i32, b: i32) -> i32 {
        a.wrapping_mul(b)
    }

    #[inline(always)]
    unsafe fn dot(sum: i32, unsigned: i32, signed: [i8; 4]) -> i32 {
        let products = unsigned.to_le_bytes().into_iter().zip(signed);
        products.fold(sum, |sum, (a, b)| sum + i32::from(a) * i32::from(b))
    }

    #[inline(always)]
    unsafe fn dot_signed(sum: i32, weights: i32, signed: [i8; 4]) -> i32 {
        let products = weights.to_le_bytes().into_iter().zip(signed);
        products.fold(sum, |sum, (a, b)| sum + i32::from(a.cast_signed()) * i32::from(b))
    }

    #[inline(always)]
    unsafe fn to_floats(words: i32) -> f32 {
        words as f32
    }

    #[inline(always)]
    unsafe fn splat_float(value: f32) -> f32 {
        value
    }

    #[inline(always)]
    unsafe fn add(a: f32, b: f32) -> f32 {
        a + b
    }

    #[inline(always)]
    unsafe fn multiply(a: f32, b: f32) -> f32 {
        a * b
    }

    #[inline(always)]
    unsafe fn store(floats: f32, out: &mut [f32]) {
        out[0] = floats;
    }
}
