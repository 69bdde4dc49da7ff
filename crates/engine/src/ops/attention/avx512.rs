//! The inner loops of `tile.rs` and `strip.rs` for AVX-512, where a tile is eight registers: left to the compiler, eight rows
//! become gathers. The bits are those of the plain loops. Registers are filled in loops: `map` and `from_fn` of an array are
//! compiled without these instructions, and whether they disappear is up to luck.

#![expect(unsafe_code, reason = "vector instructions on values whose extents are checked before")]

use std::arch::x86_64::{
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmple_epu32_mask, _mm512_cmplt_epu32_mask,
    _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask3_fmadd_ps, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_storeu_ps,
};

use crate::kernels::transpose::columns_of;

/// Lanes of a register.
const W: usize = 16;

/// sums\[m]\[lane] += Σᵢ rows\[m]\[i] · panel\[i]\[lane].
#[inline(always)]
pub(super) fn add_products<const M: usize>(sums: &mut [f32], rows: [&[f32]; M], panel: &[f32]) {
    let steps = panel.len() / W;
    assert!(sums.len() == M * W, "a register for each row");
    assert!(rows.iter().all(|row| row.len() >= steps), "rows are as long as the panel");
    // SAFETY: only the arithmetic of AVX-512 comes here; row[i] and panel[16 i..] lie inside for i < steps (asserted).
    unsafe { add(sums, rows.map(<[f32]>::as_ptr), 1, panel) }
}

/// sums\[m]\[lane] += Σₖ rows\[k · stride + m] · weights\[k]\[lane].
#[inline(always)]
pub(super) fn add_weighted<const M: usize>(
    sums: &mut [f32],
    (rows, stride): (&[f32], usize),
    weights: &[f32],
) {
    let steps = weights.len() / W;
    assert!(sums.len() == M * W, "a register for each value");
    assert!(steps == 0 || rows.len() >= (steps - 1) * stride + M, "a row for each key");
    let start = rows.as_ptr();
    let mut values = [start; M];
    for (m, value) in values.iter_mut().enumerate() {
        *value = start.wrapping_add(m);
    }
    // SAFETY: only the arithmetic of AVX-512 comes here; value m of row k lies inside for k < steps (asserted).
    unsafe { add(sums, values, stride, weights) }
}

/// As [`add_weighted`], over the keys from number `first` on that a lane sees: from `from[lane]` to before `to[lane]`.
#[inline(always)]
pub(super) fn add_weighted_seen<const M: usize>(
    sums: &mut [f32],
    (rows, stride): (&[f32], usize),
    weights: &[f32],
    (first, from, to): (usize, &[u32], &[u32]),
) {
    let steps = weights.len() / W;
    assert!(sums.len() == M * W && from.len() == W && to.len() == W, "a register for each value");
    assert!(steps == 0 || rows.len() >= (steps - 1) * stride + M, "a row for each key");
    // SAFETY: only the arithmetic of AVX-512 comes here; value m of row k lies inside for k < steps (asserted).
    unsafe { add_seen::<M>(sums, (rows, stride), weights, (first, from, to)) }
}

/// sums\[m] += Σᵢ values\[m]\[i · step] · panel\[i].
///
/// # Safety
/// The processor has AVX-512; `sums` holds `M` registers, and `values[m]` a value for each register of `panel`, `step` apart.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn add<const M: usize>(
    sums: &mut [f32],
    values: [*const f32; M],
    step: usize,
    panel: &[f32],
) {
    let mut held = [_mm512_setzero_ps(); M];
    for (m, held) in held.iter_mut().enumerate() {
        // SAFETY: by the contract.
        *held = unsafe { _mm512_loadu_ps(sums.as_ptr().add(m * W)) };
    }
    for (i, panel) in panel.as_chunks::<W>().0.iter().enumerate() {
        // SAFETY: by the contract.
        unsafe {
            let panel = _mm512_loadu_ps(panel.as_ptr());
            for (held, values) in held.iter_mut().zip(&values) {
                *held = _mm512_fmadd_ps(_mm512_set1_ps(*values.add(i * step)), panel, *held);
            }
        }
    }
    for (m, held) in held.into_iter().enumerate() {
        // SAFETY: by the contract.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(m * W), held) };
    }
}

/// # Safety
/// The processor has AVX-512; `sums` holds `M` registers, `rows` `M` values for each register of `weights`, `from` and `to` one
/// register each.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn add_seen<const M: usize>(
    sums: &mut [f32],
    (rows, stride): (&[f32], usize),
    weights: &[f32],
    (first, from, to): (usize, &[u32], &[u32]),
) {
    // SAFETY: by the contract.
    let (from, to) = unsafe {
        (_mm512_loadu_si512(from.as_ptr().cast()), _mm512_loadu_si512(to.as_ptr().cast()))
    };
    let mut held = [_mm512_setzero_ps(); M];
    for (m, held) in held.iter_mut().enumerate() {
        // SAFETY: by the contract.
        *held = unsafe { _mm512_loadu_ps(sums.as_ptr().add(m * W)) };
    }
    for (k, weights) in weights.as_chunks::<W>().0.iter().enumerate() {
        let key = _mm512_set1_epi32(((first + k) as u32).cast_signed());
        let sees = _mm512_cmple_epu32_mask(from, key) & _mm512_cmplt_epu32_mask(key, to);
        // SAFETY: by the contract.
        unsafe {
            let weights = _mm512_loadu_ps(weights.as_ptr());
            for (m, held) in held.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*rows.as_ptr().add(k * stride + m));
                *held = _mm512_mask3_fmadd_ps(value, weights, *held, sees);
            }
        }
    }
    for (m, held) in held.into_iter().enumerate() {
        // SAFETY: by the contract.
        unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add(m * W), held) };
    }
}

/// panel\[i]\[lane] = factor · rows\[lane]\[i].
#[inline(always)]
pub(super) fn gather(panel: &mut [f32], rows: [&[f32]; W], factor: f32) {
    let size = panel.len() / W;
    assert!(rows.iter().all(|row| row.len() >= size), "rows are as long as the panel");
    let whole = size / W * W;
    for first in (0..whole).step_by(W) {
        let mut at = [std::ptr::null(); W];
        for (at, row) in at.iter_mut().zip(&rows) {
            *at = row[first..].as_ptr();
        }
        // SAFETY: only the arithmetic of AVX-512 comes here; sixteen values of each row and sixteen rows of the panel lie
        // inside from `first` on.
        unsafe { turn(at, &mut panel[first * W..], W, factor) }
    }
    for i in whole..size {
        for (lane, row) in rows.iter().enumerate() {
            panel[i * W + lane] = row[i] * factor;
        }
    }
}

/// rows\[lane · size + i] = sums\[i]\[lane] · factors\[lane].
#[inline(always)]
pub(super) fn scatter(rows: &mut [f32], sums: &[f32], factors: &[f32]) {
    let size = sums.len() / W;
    assert!(
        rows.len() == sums.len() && factors.len() == W,
        "as many values, a factor for each lane"
    );
    let whole = size / W * W;
    for first in (0..whole).step_by(W) {
        let mut at = [std::ptr::null(); W];
        for (i, at) in at.iter_mut().enumerate() {
            *at = sums[(first + i) * W..].as_ptr();
        }
        // SAFETY: only the arithmetic of AVX-512 comes here; the rows of `sums` lie inside, and so do sixteen values of each
        // row from `first` on.
        unsafe { turn_scaled(at, &mut rows[first..], size, factors) }
    }
    for i in whole..size {
        for lane in 0..W {
            rows[lane * size + i] = sums[i * W + lane] * factors[lane];
        }
    }
}

/// out\[i · stride + lane] = factor · rows\[lane]\[i].
///
/// # Safety
/// The processor has AVX-512; sixteen values lie at each of `rows`, and `out` has 15 · `stride` + 16.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn turn(rows: [*const f32; W], out: &mut [f32], stride: usize, factor: f32) {
    let factor = _mm512_set1_ps(factor);
    let mut registers = [_mm512_setzero_si512(); W];
    for (register, row) in registers.iter_mut().zip(rows) {
        // SAFETY: by the contract.
        *register = unsafe { _mm512_castps_si512(_mm512_loadu_ps(row)) };
    }
    for (i, column) in columns_of(&registers).into_iter().enumerate() {
        let column = _mm512_mul_ps(_mm512_castsi512_ps(column), factor);
        // SAFETY: by the contract.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr().add(i * stride), column) };
    }
}

/// out\[lane · stride + i] = rows\[i]\[lane] · factors\[lane].
///
/// # Safety
/// As [`turn`], and `factors` holds sixteen values.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn turn_scaled(rows: [*const f32; W], out: &mut [f32], stride: usize, factors: &[f32]) {
    // SAFETY: by the contract.
    let factors = unsafe { _mm512_loadu_ps(factors.as_ptr()) };
    let mut registers = [_mm512_setzero_si512(); W];
    for (register, row) in registers.iter_mut().zip(rows) {
        // SAFETY: by the contract.
        *register = unsafe { _mm512_castps_si512(_mm512_mul_ps(_mm512_loadu_ps(row), factors)) };
    }
    for (lane, column) in columns_of(&registers).into_iter().enumerate() {
        // SAFETY: by the contract.
        unsafe {
            _mm512_storeu_ps(out.as_mut_ptr().add(lane * stride), _mm512_castsi512_ps(column));
        }
    }
}
