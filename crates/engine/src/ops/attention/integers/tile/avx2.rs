//! Products of pairs with AVX2: a strip's sixteen rows are the lanes of two registers.

#![expect(unsafe_code, reason = "vector instructions on values whose extents are checked before")]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_blend_epi16, _mm256_castps_si256, _mm256_cvtepi32_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_si256, _mm256_slli_epi32, _mm256_storeu_ps,
    _mm256_storeu_si256,
};

use super::{HALF, PairProducts, TileRows, W};
use crate::kernels::lanes::WHOLE;

/// Rows whose sums stay in registers together: eight of the sixteen that there are.
const GROUP: usize = 4;

/// Only where [`crate::kernels::KernelPath::Avx2Pairs`] is available.
pub(in super::super) struct Avx2;

impl PairProducts for Avx2 {
    #[inline(always)]
    fn pairs(low: (&[f32; W], &[f32; W]), high: (&[f32; W], &[f32; W]), out: &mut [u32; W]) {
        let (outs, parts) = (out.as_chunks_mut::<HALF>().0, [0, HALF]);
        for (out, first) in outs.iter_mut().zip(parts) {
            // SAFETY: the processor has the instructions; half of sixteen values is a register.
            unsafe {
                let lanes = pair_of(integers(low, first), integers(high, first));
                _mm256_storeu_si256(out.as_mut_ptr().cast(), lanes);
            }
        }
    }

    #[inline(always)]
    fn folded(values: &[f32; W], up: &[f32; W], out: &mut [u32; HALF]) {
        // SAFETY: as above.
        unsafe {
            let lanes = pair_of(integers((values, up), 0), integers((values, up), HALF));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), lanes);
        }
    }

    #[inline(always)]
    fn multiply<const M: usize>(
        out: &mut [[f32; W]; M],
        rows: TileRows<'_, M>,
        panel: &[[u32; W]],
        scales: &[f32; W],
        row_scales: Option<&[f32; M]>,
    ) {
        rows.check(panel.len());
        let TileRows { lanes, at, step } = rows;
        let mut done = 0;
        // SAFETY: the processor has the instructions, and the rows lie inside (checked).
        unsafe {
            for (out, at) in out.as_chunks_mut().0.iter_mut().zip(at.as_chunks().0) {
                let row_scales = row_scales.map(|scales| std::array::from_fn(|m| scales[done + m]));
                let rows = TileRows::<GROUP> { lanes, at: *at, step };
                multiply(out, rows, panel, scales, row_scales.as_ref());
                done += GROUP;
            }
            while done < M {
                let row_scales = row_scales.map(|scales| std::array::from_ref(&scales[done]));
                let rows = TileRows { lanes, at: [at[done]], step };
                multiply(std::array::from_mut(&mut out[done]), rows, panel, scales, row_scales);
                done += 1;
            }
        }
    }
}

/// The integers next to values · up from lane `first` on, in the lower halves of lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn integers((values, up): (&[f32; W], &[f32; W]), first: usize) -> __m256i {
    let [values, up] = [&values[first..][..HALF], &up[first..][..HALF]];
    // SAFETY: eight values are a register.
    let (values, up) = unsafe { (_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(up.as_ptr())) };
    _mm256_castps_si256(_mm256_fmadd_ps(values, up, _mm256_set1_ps(WHOLE)))
}

/// The lower halves of lanes of both.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn pair_of(low: __m256i, high: __m256i) -> __m256i {
    _mm256_blend_epi16::<0xAA>(low, _mm256_slli_epi32::<16>(high))
}

/// # Safety
/// The processor has AVX2 and FMA; a lane of each row lies inside for each of `panel`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply<const M: usize>(
    out: &mut [[f32; W]; M],
    rows: TileRows<'_, M>,
    panel: &[[u32; W]],
    scales: &[f32; W],
    row_scales: Option<&[f32; M]>,
) {
    // SAFETY: by the contract; eight of sixteen values are a register.
    unsafe {
        let held = sums(rows, panel);
        for (m, (out, sums)) in out.iter_mut().zip(held).enumerate() {
            for (half, sum) in sums.into_iter().enumerate() {
                let (sum, scales) =
                    (_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(scales.as_ptr().add(half * HALF)));
                let out = out.as_mut_ptr().add(half * HALF);
                let new = match row_scales {
                    Some(rows) => {
                        _mm256_mul_ps(_mm256_mul_ps(sum, scales), _mm256_set1_ps(rows[m]))
                    }
                    None => _mm256_fmadd_ps(sum, scales, _mm256_loadu_ps(out)),
                };
                _mm256_storeu_ps(out, new);
            }
        }
    }
}

/// # Safety
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn sums<const M: usize>(
    TileRows { lanes, at, step }: TileRows<'_, M>,
    panel: &[[u32; W]],
) -> [[__m256i; 2]; M] {
    let mut held = [[_mm256_setzero_si256(); 2]; M];
    for (i, panel) in panel.iter().enumerate() {
        // SAFETY: by the contract.
        unsafe {
            let panel = panel.as_ptr();
            let halves = [panel, panel.add(HALF)].map(|half| _mm256_loadu_si256(half.cast()));
            let row = lanes.as_ptr().add(i * step);
            for (held, at) in held.iter_mut().zip(at) {
                let value = _mm256_set1_epi32(row.add(at).read().cast_signed());
                for (held, half) in held.iter_mut().zip(halves) {
                    *held = _mm256_add_epi32(*held, _mm256_madd_epi16(value, half));
                }
            }
        }
    }
    held
}
