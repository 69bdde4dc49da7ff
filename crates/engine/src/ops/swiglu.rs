//! SwiGLU: out = gate · σ(gate) · up (Shazeer 2020).

use super::shared::Shared;
use crate::kernels::KernelPath;
use crate::kernels::simd::{Arithmetic, dispatch, exp};
use crate::kernels::threads::Threads;

/// Values of one task.
const VALUES: usize = 8192;

/// `out`, `gate` and `up` have the same shape.
pub fn forward((path, threads): (KernelPath, &Threads), gate: &[f32], up: &[f32], out: &mut [f32]) {
    threads.for_rows(out, 1, VALUES, |part, out| {
        forward_part(path, &gate[part.clone()], &up[part], out);
    });
}

dispatch!(fn forward_part = forward_body(gate: &[f32], up: &[f32], out: &mut [f32]));

#[inline(always)]
fn forward_body<A: Arithmetic>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp::<A>(-gate)) * up;
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
        *gate = *gate / (1.0 + exp::<A>(-*gate)) * up;
    }
}

/// Replaces `d_gate` and `d_up` by the gradients; with s = σ(gate): d gate = d · up · s (1 + gate (1 − s)), d up = d · gate · s.
pub fn backward(
    (path, threads): (KernelPath, &Threads),
    (gate, up): (&[f32], &[f32]),
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let d_up = Shared::new(d_up);
    threads.for_rows(d_gate, 1, VALUES, |part, d_gate| {
        let d_up = d_up.part(part.start, part.len());
        backward_part(path, &gate[part.clone()], &up[part.clone()], &d_out[part], d_gate, d_up);
    });
}

dispatch!(fn backward_part = backward_body(
    gate: &[f32], up: &[f32], d_out: &[f32], d_gate: &mut [f32], d_up: &mut [f32]
));

#[inline(always)]
fn backward_body<A: Arithmetic>(
    gate: &[f32],
    up: &[f32],
    d_out: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let values = gate.iter().zip(up).zip(d_out);
    for (((gate, up), d_out), (d_gate, d_up)) in values.zip(d_gate.iter_mut().zip(d_up)) {
        let sigmoid = 1.0 / (1.0 + exp::<A>(-gate));
        *d_up = d_out * gate * sigmoid;
        *d_gate = d_out * up * sigmoid * A::multiply_add(*gate, 1.0 - sigmoid, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::finite_difference::{check, random, weighted};

    #[test]
    fn backward_is_the_slope_of_forward() {
        let threads = Threads::new(2).unwrap();
        let (gate, up, d_out) = (random(45, "gate"), random(45, "up"), random(45, "d_out"));
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let run = |gate: &[f32], up: &[f32]| {
                let mut out = vec![0.0; gate.len()];
                forward((path, &threads), gate, up, &mut out);
                out
            };
            let (mut d_gate, mut d_up) = (vec![0.0; 45], vec![0.0; 45]);
            backward((path, &threads), (&gate, &up), &d_out, &mut d_gate, &mut d_up);
            check("swiglu gate", &gate, &d_gate, |gate| weighted(&d_out, &run(gate, &up)));
            check("swiglu up", &up, &d_up, |up| weighted(&d_out, &run(&gate, up)));
        }
    }
}
