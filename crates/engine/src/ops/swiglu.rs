//! SwiGLU: out = gate · σ(gate) · up (Shazeer 2020).

use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::lanes::{Widen, to_bf16};
use crate::kernels::simd::{Arithmetic, dispatch, exp};
use crate::kernels::threads::Threads;

/// Values of one task.
const VALUES: usize = 8192;

/// `out`, `gate` and `up` have the same shape.
pub fn forward<T: Widen>(
    (path, threads): (KernelPath, &Threads),
    [gate, up]: [&[T]; 2],
    out: &mut [f32],
) {
    threads.for_rows(out, 1, VALUES, |part, out| {
        forward_part(path, &gate[part.clone()], &up[part], out);
    });
}

dispatch!(
    /// [`forward`] of a part.
    pub(super) fn forward_part<T: Widen> = forward_body(gate: &[T], up: &[T], out: &mut [f32])
);

#[inline(always)]
fn forward_body<A: Arithmetic>(gate: &[impl Widen], up: &[impl Widen], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gated::<A>(gate.widen(), up.widen());
    }
}

#[inline(always)]
fn gated<A: Arithmetic>(gate: f32, up: f32) -> f32 {
    gate / (1.0 + exp::<A>(-gate)) * up
}

/// As [`forward`], and rounds `gate` and `up` to bfloat16 while they pass by.
pub fn forward_rounding(
    (path, threads): (KernelPath, &Threads),
    [gate, up]: [&[f32]; 2],
    out: &mut [f32],
    halves: [&mut [u16]; 2],
) {
    let halves = halves.map(Shared::new);
    threads.for_rows(out, 1, VALUES, |part, out| {
        let [gate_halves, up_halves] =
            halves.each_ref().map(|halves| halves.part(part.start, part.len()));
        rounding_part(path, &gate[part.clone()], &up[part], out, gate_halves, up_halves);
    });
}

dispatch!(
    /// [`forward_rounding`] of a part.
    pub(super) fn rounding_part = rounding_body(
        gate: &[f32], up: &[f32], out: &mut [f32], gate_halves: &mut [u16], up_halves: &mut [u16]
    )
);

#[inline(always)]
fn rounding_body<A: Arithmetic>(
    gate: &[f32],
    up: &[f32],
    out: &mut [f32],
    gate_halves: &mut [u16],
    up_halves: &mut [u16],
) {
    let values = gate.iter().zip(up).zip(gate_halves.iter_mut().zip(up_halves));
    for (out, ((gate, up), (gate_half, up_half))) in out.iter_mut().zip(values) {
        *out = gated::<A>(*gate, *up);
        (*gate_half, *up_half) = (to_bf16(*gate), to_bf16(*up));
    }
}

/// As [`forward`], with the result in the place of `gate`.
pub fn forward_in_place((path, threads): (KernelPath, &Threads), gate: &mut [f32], up: &[f32]) {
    threads.for_rows(gate, 1, VALUES, |part, gate| {
        in_place_part(path, gate, &up[part]);
    });
}

dispatch!(fn in_place_part = in_place_body(gate: &mut [f32], up: &[f32]));

#[inline(always)]
fn in_place_body<A: Arithmetic>(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = gated::<A>(*gate, *up);
    }
}

/// Replaces `d_gate` and `d_up` by the gradients; with s = σ(gate): d gate = d · up · s (1 + gate (1 − s)), d up = d · gate · s.
pub fn backward<T: Widen>(
    (path, threads): (KernelPath, &Threads),
    [gate, up]: [&[T]; 2],
    d_out: &[f32],
    [d_gate, d_up]: [&mut [f32]; 2],
) {
    let d_up = Shared::new(d_up);
    threads.for_rows(d_gate, 1, VALUES, |part, d_gate| {
        let d_up = d_up.part(part.start, part.len());
        backward_part(path, &gate[part.clone()], &up[part.clone()], &d_out[part], d_gate, d_up);
    });
}

dispatch!(
    /// [`backward`] of a part.
    pub(super) fn backward_part<T: Widen> = backward_body(
        gate: &[T], up: &[T], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]
    )
);

#[inline(always)]
fn backward_body<A: Arithmetic>(
    gate: &[impl Widen],
    up: &[impl Widen],
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let values = gate.iter().zip(up).zip(d_out);
    for (((gate, up), d_out), (d_gate, d_up)) in values.zip(d_gate.iter_mut().zip(d_up)) {
        let (gate, up) = (gate.widen(), up.widen());
        let sigmoid = 1.0 / (1.0 + exp::<A>(-gate));
        *d_up = d_out * gate * sigmoid;
        *d_gate = d_out * up * sigmoid * A::multiply_add(gate, 1.0 - sigmoid, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};
    use crate::ops::halves;

    #[test]
    fn backward_is_the_slope_of_forward() {
        let threads = Threads::new(2).unwrap();
        let (gate, up, d_out) = (random(45, "gate"), random(45, "up"), random(45, "d_out"));
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let run = |gate: &[f32], up: &[f32]| {
                let mut out = vec![0.0; gate.len()];
                forward((path, &threads), [gate, up], &mut out);
                out
            };
            let (mut d_gate, mut d_up) = (vec![0.0; 45], vec![0.0; 45]);
            backward((path, &threads), [&gate, &up], &d_out, [&mut d_gate, &mut d_up]);
            check("swiglu gate", &gate, &d_gate, |gate| weighted(&d_out, &run(gate, &up)));
            check("swiglu up", &up, &d_up, |up| weighted(&d_out, &run(&gate, up)));
        }
    }

    /// One pass over what is kept gives the bits of rounding, widening and computing one after the other.
    #[test]
    fn halves_are_rounded_and_read_on_the_way() {
        let length = 2 * VALUES + 45;
        let threads = Threads::new(2).unwrap();
        let [gate, up, d_out] = ["gate", "up", "d_out"].map(|name| random(length, name));
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let context = (path, &threads);
            let [mut out, mut fused] = [(); 2].map(|()| vec![0.0; length]);
            let [mut gate_halves, mut up_halves] = [(); 2].map(|()| vec![0; length]);
            forward(context, [&gate, &up], &mut out);
            let halves = [&mut gate_halves[..], &mut up_halves];
            forward_rounding(context, [&gate, &up], &mut fused, halves);
            assert!(out == fused, "{}", path.name());

            let rounded = [&gate, &up].map(|values| {
                let (mut halves, mut wide) = (vec![0; length], vec![0.0; length]);
                halves::round(context, values, &mut halves);
                halves::widen(context, &halves, &mut wide);
                (halves, wide)
            });
            let [(gate_rounded, gate), (up_rounded, up)] = &rounded;
            assert!([&gate_halves, &up_halves] == [gate_rounded, up_rounded], "{}", path.name());
            forward(context, [gate, up], &mut out);
            forward(context, [&gate_halves[..], &up_halves], &mut fused);
            assert!(out == fused, "{}", path.name());

            let gradients = |run: &dyn Fn([&mut [f32]; 2])| {
                let [mut d_gate, mut d_up] = [(); 2].map(|()| vec![0.0; length]);
                run([&mut d_gate, &mut d_up]);
                [d_gate, d_up]
            };
            let plain = gradients(&|d| backward(context, [&gate[..], up], &d_out, d));
            let fused =
                gradients(&|d| backward(context, [&gate_halves[..], &up_halves], &d_out, d));
            assert!(plain == fused, "{}", path.name());
        }
    }
}
