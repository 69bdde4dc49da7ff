//! Panels: the sixteen rows of a strip as the right operand of its products.

use super::forward::whole;
use super::tile::{HALF, PairProducts, W};
use crate::kernels::lanes::{length_of, scale_to_length};
use crate::kernels::simd::Arithmetic;

/// What a strip's rows are multiplied by to become integers, and back.
#[derive(Clone, Copy)]
pub(super) struct Scales {
    /// To integers.
    pub(super) up: [f32; W],
    /// Back.
    pub(super) down: [f32; W],
    /// No integer has a greater magnitude.
    pub(super) greatest: f32,
}

/// Makes pairs along a row of a panel (size, lanes), each row of the greatest length that rows of integers have.
#[inline(always)]
pub(super) fn put_panel<A: Arithmetic, P: PairProducts>(
    panel: &[[f32; W]],
    out: &mut [[u32; W]],
) -> Scales {
    let (mut squares, mut most) = ([0.0f32; W], [0.0f32; W]);
    for values in panel {
        for lane in 0..W {
            squares[lane] = A::multiply_add(values[lane], values[lane], squares[lane]);
            most[lane] = greater(values[lane].abs(), most[lane]);
        }
    }
    let (squares, most) = (whole(squares), whole(most));
    let (up, down) = scales_of(&squares.map(length_of));
    let mut greatest = 0.0;
    for lane in 0..W {
        greatest = greater(most[lane] * up[lane] + 0.5, greatest);
    }
    put_pairs::<P>(panel, &up, out);
    Scales { up, down, greatest }
}

/// Makes integers of two rows of `values` at a time; after an odd last one comes zero.
#[inline(always)]
pub(super) fn put_pairs<P: PairProducts>(values: &[[f32; W]], up: &[f32; W], out: &mut [[u32; W]]) {
    let (whole, rest) = values.as_chunks::<2>();
    for (out, [low, high]) in out.iter_mut().zip(whole) {
        P::pairs((low, up), (high, up), out);
    }
    if let [last] = rest {
        P::pairs((last, up), (&[0.0; W], up), &mut out[whole.len()]);
    }
}

/// [`scale_to_length`] of each lane.
#[inline(always)]
pub(super) fn scales_of(lengths: &[f32; W]) -> ([f32; W], [f32; W]) {
    let (mut up, mut down) = ([0.0; W], [0.0; W]);
    for lane in 0..W {
        (up[lane], down[lane]) = scale_to_length(lengths[lane]);
    }
    (up, down)
}

/// The greater of two; what is no number is not.
#[inline(always)]
pub(super) fn greater(value: f32, than: f32) -> f32 {
    if value > than { value } else { than }
}

/// Pairs of the rows j and j + 8, which begin in `values` at `places`, as the right operand of sums over rows:
/// panels\[column · 8 + j]\[i] holds value column · 16 + i of both, times their `factors`; zero past the last of `size` values.
#[inline(always)]
pub(super) fn put_rows<P: PairProducts>(
    panels: &mut [[u32; W]],
    (places, size): (&[usize; W], usize),
    values: &[f32],
    factors: &[f32; W],
) {
    for j in 0..HALF {
        let (low, high) = (&values[places[j]..][..size], &values[places[j + HALF]..][..size]);
        let ups = (&[factors[j]; W], &[factors[j + HALF]; W]);
        let ((low, low_rest), (high, high_rest)) = (low.as_chunks::<W>(), high.as_chunks::<W>());
        for (column, (low, high)) in low.iter().zip(high).enumerate() {
            P::pairs((low, ups.0), (high, ups.1), &mut panels[column * HALF + j]);
        }
        if !low_rest.is_empty() {
            let (mut last_low, mut last_high) = ([0.0; W], [0.0; W]);
            last_low[..low_rest.len()].copy_from_slice(low_rest);
            last_high[..high_rest.len()].copy_from_slice(high_rest);
            let panel = &mut panels[low.len() * HALF + j];
            P::pairs((&last_low, ups.0), (&last_high, ups.1), panel);
        }
    }
}
