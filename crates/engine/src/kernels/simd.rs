//! Vector arithmetic written once in plain Rust and compiled for each [`KernelPath`](crate::kernels::KernelPath).
//!
//! [`Arithmetic`] says whether multiply-add is one rounding or two; sums over a slice keep sixteen lanes and fold them in a
//! fixed order, so a result depends only on the path.

use super::lanes::Widen;

/// How many partial sums a reduction keeps.
pub const LANES: usize = 16;

/// Multiply-add of a path.
pub trait Arithmetic: Copy + Send + Sync {
    /// Whether there are 32 registers of sixteen values each; otherwise 16 smaller ones.
    const MANY_REGISTERS: bool;

    /// a · b + c.
    fn multiply_add(a: f32, b: f32, c: f32) -> f32;
}

/// Two roundings: processors without the fused instruction.
#[derive(Debug, Clone, Copy)]
pub struct Separate;

/// One rounding; AVX2.
#[derive(Debug, Clone, Copy)]
pub struct Fused;

/// One rounding; AVX-512.
#[derive(Debug, Clone, Copy)]
pub struct FusedWide;

impl Arithmetic for Separate {
    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
}

impl Arithmetic for Fused {
    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

impl Arithmetic for FusedWide {
    const MANY_REGISTERS: bool = true;

    #[inline(always)]
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Defines a function that runs `$body`, compiled for each path, with the instructions of the one it is given.
///
/// `$body` is generic over [`Arithmetic`] and must be `#[inline(always)]`, or it is compiled without them. The function may be
/// generic over one type more.
macro_rules! dispatch {
    (
        $(#[$doc:meta])* $visibility:vis fn $name:ident$(<$generic:ident: $bound:ident>)? = $body:ident(
            $($argument:ident: $kind:ty),* $(,)?
        ) $(-> $output:ty)?
    ) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments, reason = "an inner loop takes its operands one by one")]
        $visibility fn $name$(<$generic: $bound>)?(
            path: $crate::kernels::KernelPath, $($argument: $kind),*
        ) $(-> $output)? {
            use $crate::kernels::simd::{Fused, FusedWide, Separate};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn avx512$(<$generic: $bound>)?($($argument: $kind),*) $(-> $output)? {
                $body::<FusedWide>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2$(<$generic: $bound>)?($($argument: $kind),*) $(-> $output)? {
                $body::<Fused>($($argument),*)
            }
            #[allow(unsafe_code, reason = "`KernelPath::available` has found the instructions on this processor")]
            match path {
                // SAFETY: a path is only ever chosen when it is available.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::KernelPath::Avx512 | $crate::kernels::KernelPath::Avx512Vnni => unsafe {
                    avx512($($argument),*)
                },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::KernelPath::Avx2 | $crate::kernels::KernelPath::Avx2Pairs => unsafe {
                    avx2($($argument),*)
                },
                _ => $body::<Separate>($($argument),*),
            }
        }
    };
}
pub(crate) use dispatch;

/// Asks for the cache line of `values[at]`, which is about to be read; nothing where there is no such value.
#[inline(always)]
#[allow(unsafe_code, reason = "a hint to the cache")]
pub fn prefetch<T>(values: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = values.get(at) {
        // SAFETY: every x86-64 processor has the instruction, and the address is that of a value.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                std::ptr::from_ref(value).cast(),
            );
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, at);
}

/// Asks for all of `values`.
#[inline(always)]
pub fn prefetch_all(values: &[f32]) {
    for at in (0..values.len()).step_by(LANES) {
        prefetch(values, at);
    }
}

/// Folds sixteen partial sums: halves onto halves.
///
/// Takes them through memory: else the loop that makes them is compiled for small registers, in which the halves lie.
#[inline(always)]
pub fn fold(lanes: [f32; LANES]) -> f32 {
    let mut lanes = std::hint::black_box(lanes);
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// Σ aᵢ bᵢ.
#[inline(always)]
pub fn dot<A: Arithmetic>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            lanes[lane] = A::multiply_add(a[lane], b[lane], lanes[lane]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = A::multiply_add(*a, *b, *lane);
    }
    fold(lanes)
}

/// How many dot products [`dot_four`] makes at once.
pub const FOUR: usize = 4;

/// The dot products of one row with four, each the same bits as [`dot`]'s; their additions do not wait for one another.
/// `before` is called with the number of each block of [`LANES`] before it is multiplied.
#[inline(always)]
pub fn dot_four<A: Arithmetic, One: Widen, Other: Widen>(
    one: &[One],
    four: [&[Other]; FOUR],
    before: impl Fn(usize),
) -> [f32; FOUR] {
    // Four arrays and no loop over them, which would keep them in memory.
    let [mut first, mut second, mut third, mut fourth] = [[0.0f32; LANES]; FOUR];
    let (blocks, rest) = one.as_chunks::<LANES>();
    let of_four = four.map(|row| row.as_chunks::<LANES>().0);
    for (number, block) in blocks.iter().enumerate() {
        before(number);
        let mut wide = [0.0f32; LANES];
        for lane in 0..LANES {
            wide[lane] = block[lane].widen();
        }
        add_products::<A>(&mut first, &wide, &of_four[0][number]);
        add_products::<A>(&mut second, &wide, &of_four[1][number]);
        add_products::<A>(&mut third, &wide, &of_four[2][number]);
        add_products::<A>(&mut fourth, &wide, &of_four[3][number]);
    }
    let mut sums = [first, second, third, fourth];
    if !rest.is_empty() {
        for (sums, row) in sums.iter_mut().zip(four) {
            let row = &row[one.len() - rest.len()..];
            for ((sum, one), other) in sums.iter_mut().zip(rest).zip(row) {
                *sum = A::multiply_add(one.widen(), other.widen(), *sum);
            }
        }
    }
    fold_four(sums)
}

#[inline(always)]
fn add_products<A: Arithmetic>(
    sums: &mut [f32; LANES],
    wide: &[f32; LANES],
    values: &[impl Widen; LANES],
) {
    for lane in 0..LANES {
        sums[lane] = A::multiply_add(wide[lane], values[lane].widen(), sums[lane]);
    }
}

/// Folds each of four arrays to the bits of [`fold`], with one way through memory for all of them.
#[inline(always)]
fn fold_four(lanes: [[f32; LANES]; FOUR]) -> [f32; FOUR] {
    let lanes = std::hint::black_box(lanes);
    let mut found = [0.0; FOUR];
    for (found, lanes) in found.iter_mut().zip(&lanes) {
        let (mut eight, mut four) = ([0.0f32; 8], [0.0f32; 4]);
        for lane in 0..8 {
            eight[lane] = lanes[lane] + lanes[lane + 8];
        }
        for lane in 0..4 {
            four[lane] = eight[lane] + eight[lane + 4];
        }
        *found = (four[0] + four[2]) + (four[1] + four[3]);
    }
    found
}

/// Σ xᵢ²; four sums are made at once, since one alone would wait for each addition before the next.
#[inline(always)]
pub fn sum_of_squares<A: Arithmetic>(values: &[impl Widen]) -> f32 {
    let (blocks, rest) = values.as_chunks::<LANES>();
    let (quads, blocks) = blocks.as_chunks::<4>();
    let [mut first, mut second, mut third, mut fourth] = [[0.0f32; LANES]; 4];
    for quad in quads {
        add_squares::<A>(&mut first, &quad[0]);
        add_squares::<A>(&mut second, &quad[1]);
        add_squares::<A>(&mut third, &quad[2]);
        add_squares::<A>(&mut fourth, &quad[3]);
    }
    for block in blocks {
        add_squares::<A>(&mut first, block);
    }
    for lane in 0..LANES {
        first[lane] = (first[lane] + second[lane]) + (third[lane] + fourth[lane]);
    }
    // Asked before, as a loop of no turns is not free here.
    if !rest.is_empty() {
        for (lane, value) in first.iter_mut().zip(rest) {
            *lane = A::multiply_add(value.widen(), value.widen(), *lane);
        }
    }
    fold(first)
}

#[inline(always)]
fn add_squares<A: Arithmetic>(sums: &mut [f32; LANES], values: &[impl Widen; LANES]) {
    for lane in 0..LANES {
        let value = values[lane].widen();
        sums[lane] = A::multiply_add(value, value, sums[lane]);
    }
}

/// out += factor · x.
#[inline(always)]
pub fn add_scaled<A: Arithmetic>(out: &mut [f32], factor: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = A::multiply_add(factor, *x, *out);
    }
}

/// The greatest value; negative infinity for none.
#[inline(always)]
pub fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = if block[lane] > lanes[lane] { block[lane] } else { lanes[lane] };
        }
    }
    let mut greatest = f32::NEG_INFINITY;
    for &value in lanes.iter().chain(rest) {
        greatest = if value > greatest { value } else { greatest };
    }
    greatest
}

/// eˣ to within two units in the last place; zero below -87.33 and infinite above 88.72.
///
/// Cephes' `expf`. Written without branches so that loops over it are vectorised.
#[inline(always)]
pub fn exp<A: Arithmetic>(x: f32) -> f32 {
    const LOW: f32 = -87.336_54;
    const HIGH: f32 = 88.722_83;
    let (value, n) = exp_parts::<A>(x.clamp(LOW, HIGH));
    // 2ⁿ in two steps: n may be 128, for which one exponent has no room.
    let half = n >> 1;
    let scaled = value * power_of_two(half) * power_of_two(n.wrapping_sub(half));
    let scaled = if x < LOW { 0.0 } else { scaled };
    if x > HIGH { f32::INFINITY } else { scaled }
}

/// (eʳ, n) with x = n ln 2 + r and |r| ≤ ln 2 / 2, by a polynomial of degree six in r; |x| is below 90.
#[inline(always)]
pub fn exp_parts<A: Arithmetic>(x: f32) -> (f32, i32) {
    const ROUND: f32 = 12_582_912.0;
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer.
    let rounded = A::multiply_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    // ln 2 in two parts, so that n · ln 2 is subtracted without losing r's last bits.
    let r = A::multiply_add(n, -0.693_359_4, x);
    let r = A::multiply_add(n, 2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4;
    p = A::multiply_add(p, r, 1.398_2e-3);
    p = A::multiply_add(p, r, 8.333_452e-3);
    p = A::multiply_add(p, r, 4.166_579_6e-2);
    p = A::multiply_add(p, r, 1.666_666_5e-1);
    p = A::multiply_add(p, r, 0.5);
    let value = A::multiply_add(p * r, r, r) + 1.0;
    // The sum's last bits are n itself: a cast would check for numbers that are no integers, one value at a time.
    (value, rounded.to_bits().cast_signed().wrapping_sub(ROUND.to_bits().cast_signed()))
}

/// 2ⁿ for n from -126 to 127.
#[inline(always)]
pub fn power_of_two(n: i32) -> f32 {
    f32::from_bits(n.cast_unsigned().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::KernelPath;

    dispatch!(fn exponential = exp(x: f32) -> f32);
    dispatch!(fn product = dot(a: &[f32], b: &[f32]) -> f32);
    dispatch!(fn products = products_body(one: &[f32], four: [&[f32]; FOUR]) -> [f32; FOUR]);

    #[inline(always)]
    fn products_body<A: Arithmetic>(one: &[f32], four: [&[f32]; FOUR]) -> [f32; FOUR] {
        dot_four::<A, _, _>(one, four, |_| {})
    }

    #[test]
    fn four_dot_products_at_once_have_the_bits_of_each_alone() {
        let values: Vec<f32> =
            (0..900).map(|at| ((at * 7919 % 701) as f32 - 350.0) / 93.0).collect();
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for length in [0, 1, 15, 16, 31, 64, 130] {
                let row = |number: usize| &values[number * 150 + number..][..length];
                let found = products(path, row(0), std::array::from_fn(|at| row(at + 1)));
                let alone = std::array::from_fn(|at| product(path, row(0), row(at + 1)));
                assert_eq!(found.map(f32::to_bits), alone.map(f32::to_bits), "{path:?} {length}");
            }
        }
    }

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for step in -8700..8870 {
                let x = step as f32 * 0.01;
                let expected = f64::from(x).exp();
                let found = f64::from(exponential(path, x));
                assert!(
                    (found - expected).abs() <= 2.0 * f64::from(f32::EPSILON) * expected,
                    "{path:?} exp({x})"
                );
            }
            assert_eq!(exponential(path, 0.0), 1.0);
            assert_eq!(exponential(path, f32::NEG_INFINITY), 0.0);
            assert_eq!(exponential(path, f32::INFINITY), f32::INFINITY);
            assert!(exponential(path, f32::NAN).is_nan());
        }
    }
}
