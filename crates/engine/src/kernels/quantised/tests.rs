//! Products of every type on every path against their definition in f64, and the same bits in any company.

use super::{BlockMatrix, QuantisedRows, multiply_rows, multiply_together};
use crate::format::DataType;
use crate::format::blocks::dequantise_part;
use crate::kernels::KernelPath;
use crate::kernels::threads::Threads;

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() as f32 / (1u32 << 30) as f32 - 1.0).collect()
    }

    /// Blocks of random bits, whose half-precision fields are of a usual size.
    fn blocks(&mut self, data_type: DataType, rows: usize, width: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            (0..rows * data_type.row_bytes(width)).map(|_| self.next() as u8).collect();
        let halves: &[usize] = match data_type {
            DataType::Q8_0 | DataType::Q4_0 | DataType::Q5_0 => &[0],
            DataType::Q6_K => &[208],
            _ => &[0, 2],
        };
        for block in bytes.chunks_mut(data_type.block_bytes()) {
            for at in halves {
                // of either sign, 2^-8 to 2^-4
                let exponent = 7 + self.next() as u16 % 4;
                let half = (self.next() as u16 & 0x83ff) | (exponent << 10);
                block[*at..*at + 2].copy_from_slice(&half.to_le_bytes());
            }
        }
        bytes
    }
}

fn types() -> impl Iterator<Item = DataType> {
    DataType::ALL.into_iter().filter(|data_type| BlockMatrix::can_be(*data_type))
}

fn paths() -> impl Iterator<Item = KernelPath> {
    KernelPath::ALL.into_iter().filter(|path| path.available())
}

fn product(path: KernelPath, threads: &Threads, weights: BlockMatrix<'_>, x: &[f32]) -> Vec<f32> {
    let mut rows = QuantisedRows::new();
    rows.put(path, x, weights.width());
    let mut y = vec![f32::NAN; rows.rows() * weights.rows()];
    multiply_rows(path, threads, weights, &rows, &mut y);
    y
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The activations as [`QuantisedRows`] rounds them, by another road: division, and rounding by the library.
fn rounded(x: &[f32]) -> Vec<f64> {
    let round = |block: &[f32]| {
        let greatest = block.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        let scale = f64::from(greatest / 127.0);
        let inverse = 127.0 / greatest;
        let quants: Vec<f64> = block
            .iter()
            .map(|value| {
                if greatest == 0.0 {
                    0.0
                } else {
                    f64::from((value * inverse).round_ties_even()) * scale
                }
            })
            .collect();
        quants
    };
    x.chunks(32).flat_map(round).collect()
}

#[test]
fn products_equal_their_definition() {
    let threads = Threads::new(1).expect("a pool");
    let mut numbers = Numbers(1);
    // one row more than registers hold, and sizes that are no power of two
    let (outputs, width) = (37, 768);
    for data_type in types() {
        let bytes = numbers.blocks(data_type, outputs, width);
        let weights = BlockMatrix::new(data_type, &bytes, outputs, width);
        let mut x = numbers.values(3 * width);
        x[32..64].fill(0.0);
        x[width] = 1000.0;
        let rows = rounded(&x);
        for path in paths() {
            let y = product(path, &threads, weights, &x);
            for (output, bytes) in bytes.chunks(data_type.row_bytes(width)).enumerate() {
                let mut w = vec![0.0f32; width];
                dequantise_part(data_type, path, bytes, 0, &mut w);
                for (row, x) in rows.chunks(width).enumerate() {
                    let terms = w.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
                    let (expected, size) =
                        terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                    let found = f64::from(y[row * outputs + output]);
                    assert!(
                        (found - expected).abs() <= 2e-6 * size,
                        "{data_type:?} {path:?} {row} {output}: {found} for {expected} of {size}"
                    );
                }
            }
        }
    }
}

#[test]
fn extreme_blocks_do_not_saturate() {
    // one sign and the greatest magnitudes everywhere: what would saturate 16 bits does so here
    let threads = Threads::new(1).expect("a pool");
    let width = 256;
    for data_type in types() {
        for fill in [0x00, 0x7f, 0x80, 0x88, 0xff] {
            let mut bytes = vec![fill; 16 * data_type.row_bytes(width)];
            for block in bytes.chunks_mut(data_type.block_bytes()) {
                let halves: &[usize] = if data_type == DataType::Q6_K { &[208] } else { &[0, 2] };
                let halves =
                    if matches!(data_type, DataType::Q8_0 | DataType::Q4_0 | DataType::Q5_0) {
                        &halves[..1]
                    } else {
                        halves
                    };
                for at in halves {
                    block[*at..*at + 2].copy_from_slice(&[0, 0x3c]);
                }
            }
            let weights = BlockMatrix::new(data_type, &bytes, 16, width);
            for sign in [1.0f64, -1.0] {
                let x = vec![127.0 * sign as f32; width];
                let mut w = vec![0.0f32; width];
                dequantise_part(
                    data_type,
                    KernelPath::Portable,
                    &bytes[..data_type.row_bytes(width)],
                    0,
                    &mut w,
                );
                let expected: f64 = w.iter().map(|w| f64::from(*w) * 127.0 * sign).sum();
                for path in paths() {
                    let y = product(path, &threads, weights, &x);
                    let near =
                        |found: &f32| (f64::from(*found) - expected).abs() <= 1e-5 * expected.abs();
                    assert!(
                        y.iter().all(near),
                        "{data_type:?} {path:?} {fill}: {y:?} for {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn bits_depend_on_neither_batch_nor_threads_nor_path() {
    let mut numbers = Numbers(2);
    let (outputs, width) = (523, 512);
    let pools: Vec<Threads> =
        [1, 2, 4].into_iter().map(|count| Threads::new(count).expect("a pool")).collect();
    for data_type in types() {
        let bytes = numbers.blocks(data_type, outputs, width);
        let weights = BlockMatrix::new(data_type, &bytes, outputs, width);
        let x = numbers.values(19 * width);
        let alone: Vec<u32> = x
            .chunks(width)
            .flat_map(|row| bits(&product(KernelPath::Portable, &pools[0], weights, row)))
            .collect();
        for path in paths() {
            for (index, count) in [1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 19].into_iter().enumerate() {
                let pool = &pools[index % pools.len()];
                let first = (19 - count) / 2;
                let y = product(path, pool, weights, &x[first * width..(first + count) * width]);
                assert_eq!(
                    bits(&y),
                    alone[first * outputs..(first + count) * outputs],
                    "{data_type:?} {path:?}, {count} rows, {} threads",
                    pool.count()
                );
            }
        }
    }
}

#[test]
fn products_together_are_those_alone() {
    let threads = Threads::new(2).expect("a pool");
    let mut numbers = Numbers(3);
    let width = 256;
    let x = numbers.values(2 * width);
    let sizes =
        [(DataType::Q4_0, 5), (DataType::Q6_K, 300), (DataType::Q8_0, 16), (DataType::Q4_1, 0)];
    let stored = sizes.map(|(data_type, outputs)| numbers.blocks(data_type, outputs, width));
    let mut together: Vec<Vec<f32>> =
        sizes.iter().map(|(_, outputs)| vec![0.0; 2 * outputs]).collect();
    let matrix =
        |index: usize| BlockMatrix::new(sizes[index].0, &stored[index], sizes[index].1, width);
    for path in paths() {
        let mut rows = QuantisedRows::new();
        rows.put(path, &numbers.values(11 * 32), 32); // something larger and then the real ones
        rows.put(path, &x, width);
        let mut products: Vec<(BlockMatrix<'_>, &mut [f32])> = together
            .iter_mut()
            .enumerate()
            .map(|(index, y)| (matrix(index), y.as_mut_slice()))
            .collect();
        multiply_together(path, &threads, &mut products, &rows);
        for (index, y) in together.iter().enumerate() {
            let alone = product(path, &threads, matrix(index), &x);
            assert_eq!(bits(y), bits(&alone), "{path:?} {index}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_in_its_row() {
    let threads = Threads::new(1).expect("a pool");
    let mut numbers = Numbers(4);
    let width = 64;
    let bytes = numbers.blocks(DataType::Q4_1, 20, width);
    let weights = BlockMatrix::new(DataType::Q4_1, &bytes, 20, width);
    for path in paths() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = numbers.values(3 * width);
            x[width + 40] = bad;
            let y = product(path, &threads, weights, &x);
            assert!(y[..20].iter().chain(&y[40..]).all(|value| value.is_finite()));
            assert!(y[20..40].iter().all(|value| !value.is_finite()), "{path:?} {bad}: {y:?}");
        }
        // too small for a scale
        let y = product(path, &threads, weights, &vec![f32::MIN_POSITIVE; width]);
        assert_eq!(y, vec![0.0; 20]);
    }
}

#[test]
fn no_rows_give_nothing() {
    let threads = Threads::new(1).expect("a pool");
    let bytes = vec![0; DataType::Q8_0.row_bytes(32) * 16];
    let weights = BlockMatrix::new(DataType::Q8_0, &bytes, 16, 32);
    assert!(product(KernelPath::Portable, &threads, weights, &[]).is_empty());
}

#[test]
#[should_panic(expected = "are not blocks of Q4_K")]
fn rows_are_whole_blocks() {
    BlockMatrix::new(DataType::Q4_K, &[0; 144], 1, 288);
}

#[test]
#[should_panic(expected = "bytes of 2 rows")]
fn all_rows_are_there() {
    BlockMatrix::new(DataType::Q8_0, &[0; 34], 2, 32);
}
