//! Products of pairs with AVX-512 VNNI: a strip's sixteen rows are the lanes of one register.

#![expect(unsafe_code, reason = "vector instructions on values whose extents are checked before")]

use std::arch::x86_64::{
    __m512i, _mm256_storeu_si256, _mm512_castps_si512, _mm512_castsi512_si256, _mm512_cvtepi32_ps,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_blend_epi16, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_slli_epi32, _mm512_storeu_ps, _mm512_storeu_si512,
};

use super::{HALF, PairProducts, TileRows, W};
use crate::kernels::lanes::WHOLE;
use crate::kernels::microkernel::add_pairs;

/// With the instruction for them; only where [`crate::kernels::KernelPath::Avx512Vnni`] is available.
pub(in super::super) struct Vnni;

impl PairProducts for Vnni {
    #[inline(always)]
    fn pairs(low: (&[f32; W], &[f32; W]), high: (&[f32; W], &[f32; W]), out: &mut [u32; W]) {
        // SAFETY: the processor has the instructions; arrays of sixteen values are a register each.
        unsafe {
            let lanes = pair_of(integers(low.0, low.1), integers(high.0, high.1));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), lanes);
        }
    }

    #[inline(always)]
    fn folded(values: &[f32; W], up: &[f32; W], out: &mut [u32; HALF]) {
        // SAFETY: as above; the lower half of a register is eight lanes.
        unsafe {
            let low = integers(values, up);
            let lanes = pair_of(low, _mm512_shuffle_i32x4::<0b0000_1110>(low, low));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm512_castsi512_si256(lanes));
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
        // SAFETY: the processor has the instructions, and the rows lie inside (asserted).
        unsafe { multiply(out, rows, panel, scales, row_scales) }
    }
}

/// The integers next to values · up, in the lower halves of lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn integers(values: &[f32; W], up: &[f32; W]) -> __m512i {
    // SAFETY: arrays of sixteen values are a register each.
    let [values, up] = unsafe { [_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(up.as_ptr())] };
    _mm512_castps_si512(_mm512_fmadd_ps(values, up, _mm512_set1_ps(WHOLE)))
}

/// The lower halves of lanes of both.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn pair_of(low: __m512i, high: __m512i) -> __m512i {
    _mm512_mask_blend_epi16(0xAAAA_AAAA, low, _mm512_slli_epi32::<16>(high))
}

/// # Safety
/// The processor has AVX-512 VNNI; a lane of each row lies inside for each of `panel`.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn multiply<const M: usize>(
    out: &mut [[f32; W]; M],
    rows: TileRows<'_, M>,
    panel: &[[u32; W]],
    scales: &[f32; W],
    row_scales: Option<&[f32; M]>,
) {
    // SAFETY: by the contract; arrays of sixteen values are a register each.
    unsafe {
        let held = sums(rows, panel);
        let scales = _mm512_loadu_ps(scales.as_ptr());
        for (m, (out, sum)) in out.iter_mut().zip(held).enumerate() {
            let sum = _mm512_cvtepi32_ps(sum);
            let new = match row_scales {
                Some(rows) => _mm512_mul_ps(_mm512_mul_ps(sum, scales), _mm512_set1_ps(rows[m])),
                None => _mm512_fmadd_ps(sum, scales, _mm512_loadu_ps(out.as_ptr())),
            };
            _mm512_storeu_ps(out.as_mut_ptr(), new);
        }
    }
}

/// # Safety
/// As [`multiply`].
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn sums<const M: usize>(
    TileRows { lanes, at, step }: TileRows<'_, M>,
    panel: &[[u32; W]],
) -> [__m512i; M] {
    let mut held = [_mm512_setzero_si512(); M];
    for (i, panel) in panel.iter().enumerate() {
        // SAFETY: by the contract.
        unsafe {
            let panel = _mm512_loadu_si512(panel.as_ptr().cast());
            let row = lanes.as_ptr().add(i * step);
            for (held, at) in held.iter_mut().zip(at) {
                let value = _mm512_set1_epi32(row.add(at).read().cast_signed());
                *held = add_pairs(*held, value, panel);
            }
        }
    }
    held
}
