//! Matrix products C = α·A·B (+ C): A and C are strided slices, B is [`Panels`].

use super::microkernel::{Tile, run_tile};
use super::panels::{PanelValues, Panels, STRIP};
use super::threads::Threads;
use super::{KernelPath, microkernel};

/// A matrix inside a slice: value (i, j) at `i * row_stride + j * column_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a> {
    /// The storage.
    pub values: &'a [f32],
    /// Distance between rows.
    pub row_stride: usize,
    /// Distance between columns.
    pub column_stride: usize,
}

impl<'a> Strided<'a> {
    /// Rows of `columns` values, one after the other.
    pub fn rows(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of rows of `columns` values.
    pub fn transposed(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: 1, column_stride: columns }
    }
}

/// What happens to the old values of C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// They are replaced.
    Store,
    /// The product is added to them.
    Add,
}

/// Rows of A that one task takes: they stay in the second-level cache while its strips pass by.
const TASK_ROWS: usize = 168;
/// Strips of B that one task takes.
const TASK_STRIPS: usize = 2;

/// C (m, n) = or += `alpha` · A (m, k) · B (k, n). Rows of C are `b.n` values, one after the other.
///
/// Each element is one chain over k in ascending order.
pub fn gemm(
    path: KernelPath,
    threads: &Threads,
    m: usize,
    a: Strided<'_>,
    b: &Panels,
    c: &mut [f32],
    (alpha, output): (f32, Output),
) {
    if m == 0 || b.n == 0 {
        return;
    }
    assert!(c.len() >= m * b.n, "C holds {} values, {m} × {} are needed", c.len(), b.n);
    if b.k > 0 {
        let last = (m - 1) * a.row_stride + (b.k - 1) * a.column_stride;
        assert!(
            last < a.values.len(),
            "A holds {} values, {} are needed",
            a.values.len(),
            last + 1
        );
    }
    let row_blocks = m.div_ceil(TASK_ROWS);
    let strip_blocks = b.strips().div_ceil(TASK_STRIPS);
    let target = Target { start: c.as_mut_ptr(), n: b.n };
    threads.for_each(row_blocks * strip_blocks, |task| {
        let target = &target;
        let rows = (task % row_blocks) * TASK_ROWS;
        let rows = rows..(rows + TASK_ROWS).min(m);
        let strips = (task / row_blocks) * TASK_STRIPS;
        for strip in strips..(strips + TASK_STRIPS).min(b.strips()) {
            let columns = b.strip_columns(strip);
            let mut row = rows.start;
            while row < rows.end {
                let count = (rows.end - row).min(microkernel::rows(path));
                let tile = Tile {
                    rows: count,
                    columns: columns.len(),
                    k: b.k,
                    a: a.values[(row * a.row_stride).min(a.values.len())..].as_ptr(),
                    a_row_stride: a.row_stride,
                    a_column_stride: a.column_stride,
                    c: target.at(row, columns.start),
                    c_stride: b.n,
                    alpha,
                    add: output == Output::Add,
                };
                let start = strip * STRIP * b.k;
                match &b.values {
                    PanelValues::F32(values) => {
                        run_tile(path, &tile, &values[start..start + STRIP * b.k]);
                    }
                    PanelValues::Bf16(values) => {
                        run_tile(path, &tile, &values[start..start + STRIP * b.k]);
                    }
                }
                row += count;
            }
        }
    });
}

/// C's address, shared by tasks that write disjoint tiles.
struct Target {
    start: *mut f32,
    n: usize,
}

#[expect(unsafe_code, reason = "tasks write disjoint tiles of one matrix")]
// SAFETY: each task owns the rows and strips that its number names; no two tasks form the same tile.
unsafe impl Sync for Target {}

impl Target {
    #[expect(unsafe_code, reason = "pointer arithmetic inside a matrix whose size was checked")]
    fn at(&self, row: usize, column: usize) -> *mut f32 {
        // SAFETY: `gemm` asserted that C holds m × n values, and row < m, column < n.
        unsafe { self.start.add(row * self.n + column) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::Precision;
    use super::*;
    use bioinstruct_core::random::Stream;

    fn random(length: usize, name: &str) -> Vec<f32> {
        let mut draws = Stream::new(1, name).at(0);
        (0..length).map(|_| draws.unit() as f32 - 0.5).collect()
    }

    fn paths() -> impl Iterator<Item = KernelPath> {
        KernelPath::ALL.into_iter().filter(|path| path.available())
    }

    #[test]
    fn every_path_agrees_with_the_definition() {
        let threads = Threads::new(2).unwrap();
        for (m, n, k) in [
            (1, 1, 1),
            (3, 5, 7),
            (14, 32, 64),
            (15, 33, 65),
            (171, 70, 30),
            (2, 16, 500),
            (4, 4, 0),
        ] {
            let a = random(m * k, "a");
            let b = random(k * n, "b");
            let old = random(m * n, "c");
            let mut panels = Panels::zeros(0, 0, Precision::F32);
            panels.pack(k, n, &b, n, 1);
            for path in paths() {
                let mut c = old.clone();
                gemm(path, &threads, m, Strided::rows(&a, k), &panels, &mut c, (0.5, Output::Add));
                for row in 0..m {
                    for column in 0..n {
                        let product: f64 = (0..k)
                            .map(|i| f64::from(a[row * k + i]) * f64::from(b[i * n + column]))
                            .sum();
                        let expected = 0.5 * product + f64::from(old[row * n + column]);
                        let found = f64::from(c[row * n + column]);
                        assert!(
                            (found - expected).abs() < 1e-4,
                            "{path:?} {m} {n} {k}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn transposed_operands_agree() {
        let threads = Threads::new(2).unwrap();
        let (m, n, k) = (20, 9, 13);
        let a = random(k * m, "a");
        let b = random(n * k, "b");
        let mut panels = Panels::zeros(0, 0, Precision::F32);
        panels.pack(k, n, &b, 1, k);
        for path in paths() {
            let mut c = vec![7.0; m * n];
            gemm(
                path,
                &threads,
                m,
                Strided::transposed(&a, m),
                &panels,
                &mut c,
                (1.0, Output::Store),
            );
            for row in 0..m {
                for column in 0..n {
                    let expected: f64 = (0..k)
                        .map(|i| f64::from(a[i * m + row]) * f64::from(b[column * k + i]))
                        .sum();
                    assert!((f64::from(c[row * n + column]) - expected).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch_and_on_any_number_of_threads() {
        let (m, n, k) = (200, 100, 77);
        let a = random(m * k, "a");
        for precision in [Precision::F32, Precision::Bf16] {
            let mut panels = Panels::zeros(k, n, precision);
            panels.set_columns(&Threads::new(1).unwrap(), 0, &random(n * k, "b"));
            for path in paths() {
                let run = |rows: std::ops::Range<usize>, count: usize| {
                    let threads = Threads::new(count).unwrap();
                    let mut c = vec![0.0; rows.len() * n];
                    let part = &a[rows.start * k..rows.end * k];
                    gemm(
                        path,
                        &threads,
                        rows.len(),
                        Strided::rows(part, k),
                        &panels,
                        &mut c,
                        (1.0, Output::Store),
                    );
                    c
                };
                let whole = run(0..m, 2);
                assert_eq!(whole, run(0..m, 1));
                assert_eq!(whole, run(0..m, 4));
                for row in [0, 13, 14, 167, 168, 199] {
                    assert_eq!(whole[row * n..(row + 1) * n], run(row..row + 1, 2)[..]);
                }
            }
        }
    }
}
