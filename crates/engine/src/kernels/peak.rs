//! What the processor could do at the most: [`peak`] runs the tile of a product on operands that never leave the nearest cache.

use std::time::{Duration, Instant};

use super::KernelPath;
use super::lanes::{Lane, Precision};
use super::microkernel::{self, Tile, run_tile};
use super::source::strip;
use super::threads::Threads;

/// Lanes along k of the tile: long enough that its beginning and end count for little, and in the first cache.
const K: usize = 192;
/// Tiles between two looks at the clock.
const TILES: usize = 200;
/// How long one measurement takes; the best of several is taken.
const TIME: Duration = Duration::from_millis(30);
/// Measurements.
const REPEATS: usize = 5;

/// Floating-point operations a second, two for each multiplication, of all threads together.
pub fn peak(path: KernelPath, threads: &Threads, precision: Precision) -> f64 {
    let lane = Lane::of(path, precision);
    let (rows, columns) = (microkernel::rows(path), strip(path));
    let operations = 2 * rows * columns * K * lane.values();
    let rate = || {
        let mut found = vec![0.0f64; threads.count()];
        threads.for_rows(&mut found, 1, 1, |_, found| {
            let (a, b) = (vec![0x3F80_3F80; rows * K], vec![0x3F80_3F80; columns * K]);
            let scales = vec![1.0; columns];
            let mut c = vec![0.0f32; rows * columns];
            let tile = Tile {
                rows,
                columns,
                k: K,
                a: a.as_ptr(),
                a_stride: K,
                a_scales: a.as_ptr().cast(),
                strip: &b,
                strip_scales: &scales,
                c: c.as_mut_ptr(),
                c_stride: columns,
                add: false,
            };
            let (begin, mut tiles) = (Instant::now(), 0);
            while begin.elapsed() < TIME {
                for _ in 0..TILES {
                    run_tile(path, lane, &tile);
                }
                tiles += TILES;
            }
            found[0] = (operations * tiles) as f64 / begin.elapsed().as_secs_f64();
        });
        found.iter().sum::<f64>()
    };
    (0..REPEATS).map(|_| rate()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_do_something() {
        let threads = Threads::new(2).unwrap();
        for path in KernelPath::ALL.into_iter().filter(|path| path.available()) {
            assert!(peak(path, &threads, Precision::F32) > 1e6, "{path:?}");
        }
    }
}
