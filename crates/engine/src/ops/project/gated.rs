//! The projections next to SwiGLU: what they multiply is computed row by row where it is put into lanes, and is never in memory as
//! it is.

use super::backward::input_gradient;
use super::{AdapterScratch, Backward, CHANGED_ROWS, Forward, Matrix, Scratch, forward_of_lanes};
use crate::kernels::KernelPath;
use crate::kernels::gemm::put_computed;
use crate::kernels::lanes::{Lane, Widen};
use crate::kernels::threads::Threads;
use crate::ops::shared::Shared;
use crate::ops::swiglu::{backward_part, forward_part, rounding_part};

/// As [`super::forward`] in training, of x = gate · σ(gate) · up (rows, in), of which no adapter drops anything. `halves` receives
/// gate and up rounded to bfloat16.
pub fn forward_gated(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    rows: usize,
    [gate, up]: [&[f32]; 2],
    halves: Option<[&mut [u16]; 2]>,
    layer: Forward<'_>,
) {
    debug_assert!(layer.adapters.iter().all(|adapter| adapter.dropout.is_none()));
    let (path, input) = (context.0, layer.matrix.input);
    let lane = Lane::of(path, layer.matrix.precision());
    let halves = halves.map(|halves| halves.map(Shared::new));
    put_computed([&mut scratch.x], context, lane, CHANGED_ROWS, (rows, input), |row, [x]| {
        let first = row * input;
        let (gate, up) = (&gate[first..][..input], &up[first..][..input]);
        if let Some(halves) = &halves {
            let [gate_halves, up_halves] =
                halves.each_ref().map(|halves| halves.part(first, input));
            rounding_part(path, gate, up, x, gate_halves, up_halves);
        } else {
            forward_part(path, gate, up, x);
        }
    });
    // Only dropout reads x itself.
    forward_of_lanes(context, lane, scratch, false, (rows, input, &[]), &mut [layer]);
}

/// Stores in `d_x` (rows, in) the input gradient that the layers of gate and up together give, both without adapters. `d_out`,
/// `gate` and `up` are (rows, out).
pub fn backward_gated<T: Widen>(
    context: (KernelPath, &Threads),
    scratch: &mut Scratch,
    rows: usize,
    [gate, up]: [&[T]; 2],
    d_out: &[f32],
    matrices: [&Matrix; 2],
    d_x: &mut [f32],
) {
    let (path, Matrix { out, input, .. }) = (context.0, matrices[0]);
    let lane = Lane::of(path, matrices[0].precision());
    let buffers = &mut scratch.adapters;
    buffers.resize_with(buffers.len().max(2), AdapterScratch::default);
    let [first, second, ..] = &mut buffers[..] else { return };
    let lanes = [&mut first.d_y_lanes, &mut second.d_y_lanes];
    put_computed(lanes, context, lane, CHANGED_ROWS, (rows, *out), |row, [d_gate, d_up]| {
        let part = row * out..(row + 1) * out;
        let (gate, up) = (&gate[part.clone()], &up[part.clone()]);
        backward_part(path, gate, up, &d_out[part], d_gate, d_up);
    });
    // Only adapters read the gradients themselves.
    let layers = matrices.map(|matrix| Backward { matrix, d_y: &[], adapter: None });
    input_gradient(context, lane, (rows, *input), &layers, buffers, d_x);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Phase;
    use crate::format::TensorView;
    use crate::kernels::lanes::Precision;
    use crate::ops::finite_difference::random;
    use crate::ops::project::{LowRank, backward, forward};
    use crate::ops::{halves, swiglu};

    const ROWS: usize = 2 * CHANGED_ROWS + 5;
    const HIDDEN: usize = 40;
    const WIDE: usize = 51;

    fn matrix(threads: &Threads, (out, input): (usize, usize), precision: Precision) -> Matrix {
        let tensor = TensorView::of_floats(&[out, input], &random(out * input, "matrix"));
        Matrix::new(threads, &tensor, precision)
    }

    #[test]
    fn down_has_the_bits_of_swiglu_and_a_projection() {
        let threads = Threads::new(2).unwrap();
        let [gate, up] = ["gate", "up"].map(|name| random(ROWS * WIDE, name));
        let (a, b) = (random(3 * WIDE, "a"), random(HIDDEN * 3, "b"));
        let (rank, scale, first_row, rows) = (3, 2.0, 0, ROWS);
        let (magnitude, dropout) = (None, None);
        let adapter = LowRank { a: &a, b: &b, rank, scale, magnitude, first_row, rows, dropout };
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            for precision in [Precision::F32, Precision::Bf16] {
                let context = (path, &threads);
                let down = matrix(&threads, (HIDDEN, WIDE), precision);
                for adapters in [Vec::new(), vec![adapter]] {
                    let run = |compute: &dyn Fn(&mut Scratch, Forward<'_>)| {
                        let (mut y, mut kept) = (vec![0.0; ROWS * HIDDEN], vec![0.0; ROWS * 3]);
                        let (adapters, scratch) = (adapters.clone(), &mut Scratch::default());
                        let kept_part = Some(&mut kept[..ROWS * 3 * adapters.len()]);
                        let (matrix, y_part) = (&down, &mut y);
                        let layer = Forward { matrix, adapters, y: y_part, kept: kept_part };
                        compute(scratch, layer);
                        (y, kept)
                    };
                    let plain = run(&|scratch, layer| {
                        let mut x = vec![0.0; ROWS * WIDE];
                        swiglu::forward(context, [&gate, &up], &mut x);
                        forward(context, scratch, Phase::Train, (ROWS, &x), &mut [layer]);
                    });
                    let whole = run(&|scratch, layer| {
                        forward_gated(context, scratch, ROWS, [&gate, &up], None, layer);
                    });
                    let rounding = run(&|scratch, layer| {
                        let [mut first, mut second] = [(); 2].map(|()| vec![0; ROWS * WIDE]);
                        let kept = Some([&mut first[..], &mut second]);
                        forward_gated(context, scratch, ROWS, [&gate, &up], kept, layer);
                        assert!([first, second] == [&gate, &up].map(|one| rounded(context, one)));
                    });
                    assert!(plain == whole && plain == rounding, "{path:?} {precision:?}");
                }
            }
        }
    }

    fn rounded(context: (KernelPath, &Threads), values: &[f32]) -> Vec<u16> {
        let mut halves = vec![0; values.len()];
        halves::round(context, values, &mut halves);
        halves
    }

    #[test]
    fn the_input_gradient_has_the_bits_of_swiglu_and_projections() {
        let threads = Threads::new(2).unwrap();
        let [gate, up, d_out] = ["gate", "up", "d_out"].map(|name| random(ROWS * WIDE, name));
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            let context = (path, &threads);
            let halves = [&gate, &up].map(|values| rounded(context, values));
            let halves = halves.each_ref().map(Vec::as_slice);
            for precision in [Precision::F32, Precision::Bf16] {
                let (gate, up) = (&gate[..], &up[..]);
                let matrices = [(); 2].map(|()| matrix(&threads, (WIDE, HIDDEN), precision));
                let matrices = matrices.each_ref();
                check_gradient(context, [gate, up], &d_out, matrices);
                check_gradient(context, halves, &d_out, matrices);
            }
        }
    }

    fn check_gradient<T: Widen>(
        context: (KernelPath, &Threads),
        gate_up: [&[T]; 2],
        d_out: &[f32],
        matrices: [&Matrix; 2],
    ) {
        let [mut plain, mut gated] = [(); 2].map(|()| vec![0.0; ROWS * HIDDEN]);
        let [mut d_gate, mut d_up] = [(); 2].map(|()| vec![0.0; ROWS * WIDE]);
        swiglu::backward(context, gate_up, d_out, [&mut d_gate, &mut d_up]);
        let (x, scratch) = (vec![0.0; ROWS * HIDDEN], &mut Scratch::default());
        let [gate, up] = matrices;
        let mut layers = [(gate, &d_gate), (up, &d_up)].map(|(matrix, d_y)| Backward {
            matrix,
            d_y,
            adapter: None,
        });
        backward(context, scratch, ROWS, &x, &mut layers, Some(&mut plain));
        backward_gated(context, scratch, ROWS, gate_up, d_out, matrices, &mut gated);
        assert!(plain == gated && plain.iter().any(|value| *value != 0.0), "{:?}", context.0);
    }
}
