//! [`Threads`]: the one place that splits work among processors.
//!
//! Work is cut into tasks whose number and borders never depend on the number of threads, and no two tasks write the same
//! value; so the number of threads changes only the time.
//!
//! Writing one token takes hundreds of loops of a few microseconds each, so a loop must start and end in less than one: its
//! tasks are taken from counters, workers that have nothing to do look out for the next loop for a while before they sleep,
//! and a loop ends when its tasks are done, whether or not every worker has noticed it.
//!
//! Each thread begins with tasks of its own that follow one another, as what they read does in memory, and then helps others
//! with theirs.

#![expect(
    unsafe_code,
    reason = "workers call a closure that lives on the stack of the thread that waits for them"
)]

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::error::EngineError;

/// How long a worker looks out for the next loop before it sleeps.
const LOOK_OUT: Duration = Duration::from_micros(200);
/// In the gate: workers may enter.
const OPEN: u64 = 1 << 32;
/// In the gate: what a loop's number is multiplied by; the bits below [`OPEN`] count the workers inside.
const LOOP: u64 = 1 << 33;

thread_local! {
    /// Whether this thread is inside a loop: loops in loops run on the spot.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A number of threads that work together, the caller's among them.
pub struct Threads {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Held by the thread whose loop runs.
    turn: Mutex<()>,
}

struct Worker {
    thread: Thread,
    handle: Option<JoinHandle<()>>,
}

/// What the caller and the workers look at.
struct Shared {
    gate: AtomicU64,
    /// The next task of each thread's own.
    next: Vec<Line>,
    current: UnsafeCell<Loop>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    asleep: Vec<AtomicBool>,
    ended: AtomicBool,
}

/// A counter that shares its cache line with no other.
#[repr(align(128))]
struct Line(AtomicUsize);

// SAFETY: `current` is written only while the gate is closed and nobody is inside, and read only by threads inside.
unsafe impl Sync for Shared {}
// SAFETY: the closure that `current` points to is `Sync`, and is called only while its owner waits.
unsafe impl Send for Shared {}

/// The loop that runs.
#[derive(Clone, Copy)]
struct Loop {
    task: *const (dyn Fn(usize) + Sync),
    count: usize,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Threads({})", self.count())
    }
}

impl Threads {
    /// `count` threads; zero takes as many as the machine has processors.
    pub fn new(count: usize) -> Result<Self, EngineError> {
        let error = |error: std::io::Error| EngineError::Threads { reason: error.to_string() };
        let count = match count {
            0 => std::thread::available_parallelism().map_err(error)?.get(),
            count => count,
        };
        let nothing: *const (dyn Fn(usize) + Sync) = &|_| {};
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            next: (0..count).map(|_| Line(AtomicUsize::new(0))).collect(),
            current: UnsafeCell::new(Loop { task: nothing, count: 0 }),
            panic: Mutex::new(None),
            asleep: (1..count).map(|_| AtomicBool::new(false)).collect(),
            ended: AtomicBool::new(false),
        });
        let mut threads = Self { shared, workers: Vec::new(), turn: Mutex::new(()) };
        for number in 0..count - 1 {
            let shared = Arc::clone(&threads.shared);
            let builder = std::thread::Builder::new().name(format!("kernel-{}", number + 1));
            let handle = builder.spawn(move || shared.work(number)).map_err(error)?;
            threads.workers.push(Worker { thread: handle.thread().clone(), handle: Some(handle) });
        }
        Ok(threads)
    }

    /// How many threads work.
    pub fn count(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task` once for each number below `count`.
    pub fn for_each(&self, count: usize, task: impl Fn(usize) + Sync) {
        if count <= 1 || self.workers.is_empty() || INSIDE.get() {
            (0..count).for_each(task);
            return;
        }
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.open(count, &task);
        let mine = self.shared.take_tasks(0, Loop { task: erased(&task), count });
        // From here on nobody enters; those inside are waited for, since they use what this thread owns.
        self.shared.gate.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0u32;
        while self.shared.gate.load(Ordering::Acquire) & (OPEN - 1) > 0 {
            turns += 1;
            if turns.is_multiple_of(1024) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        let theirs = self.shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(turn);
        if let Some(panic) = mine.err().or(theirs) {
            resume_unwind(panic);
        }
    }

    /// Lets the workers into a loop.
    fn open(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let Shared { gate, next, current, asleep, .. } = &*self.shared;
        // SAFETY: this thread has the turn, the gate is closed and the last loop waited until nobody was inside.
        unsafe { *current.get() = Loop { task: erased(task), count } };
        for (thread, next) in next.iter().enumerate() {
            next.0.store(self.shared.own_tasks(thread, count).start, Ordering::Relaxed);
        }
        let number = gate.load(Ordering::Relaxed) / LOOP + 1;
        gate.store((number * LOOP) | OPEN, Ordering::SeqCst);
        for (asleep, worker) in asleep.iter().zip(&self.workers) {
            if asleep.load(Ordering::SeqCst) {
                worker.thread.unpark();
            }
        }
    }

    /// Cuts `values` into pieces of `width × rows` and calls `task` with the rows of each piece.
    pub fn for_rows<T: Send>(
        &self,
        values: &mut [T],
        width: usize,
        rows: usize,
        task: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let piece = (width * rows).max(1);
        let pieces: Vec<Mutex<Option<&mut [T]>>> =
            values.chunks_mut(piece).map(|piece| Mutex::new(Some(piece))).collect();
        self.for_each(pieces.len(), |index| {
            let piece = pieces[index].lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(piece) = piece {
                let first = index * rows;
                task(first..first + piece.len() / width.max(1), piece);
            }
        });
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        for worker in &mut self.workers {
            worker.thread.unpark();
            if let Some(handle) = worker.handle.take() {
                // A worker's panic was raised where its loop was called.
                let _ = handle.join();
            }
        }
    }
}

/// The closure without its lifetime.
fn erased(task: &(dyn Fn(usize) + Sync)) -> *const (dyn Fn(usize) + Sync) {
    // SAFETY: only the lifetime changes; the pointer is followed by threads inside the loop, which its owner waits for.
    unsafe {
        std::mem::transmute::<&(dyn Fn(usize) + Sync), *const (dyn Fn(usize) + Sync + 'static)>(
            task,
        )
    }
}

impl Shared {
    /// A worker's life.
    fn work(&self, number: usize) {
        let mut done = 0;
        let mut idle = Instant::now();
        while !self.ended.load(Ordering::Relaxed) {
            let gate = self.gate.load(Ordering::Acquire);
            if gate & OPEN > 0 && gate / LOOP != done {
                let entered = self.gate.compare_exchange_weak(
                    gate,
                    gate + 1,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                );
                if entered.is_ok() {
                    // SAFETY: this thread is inside, so the loop's owner waits and `current` stays as it is.
                    let current = unsafe { *self.current.get() };
                    if let Err(panic) = self.take_tasks(number + 1, current) {
                        *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                    }
                    self.gate.fetch_sub(1, Ordering::AcqRel);
                    done = gate / LOOP;
                    idle = Instant::now();
                }
            } else if idle.elapsed() < LOOK_OUT {
                for _ in 0..32 {
                    std::hint::spin_loop();
                }
            } else {
                self.sleep(number, done);
                idle = Instant::now();
            }
        }
    }

    /// Sleeps until a loop after number `done` opens.
    fn sleep(&self, number: usize, done: u64) {
        self.asleep[number].store(true, Ordering::SeqCst);
        let gate = self.gate.load(Ordering::SeqCst);
        let news = gate & OPEN > 0 && gate / LOOP != done;
        if !news && !self.ended.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.asleep[number].store(false, Ordering::SeqCst);
    }

    /// The tasks that a thread begins with.
    fn own_tasks(&self, thread: usize, count: usize) -> Range<usize> {
        let threads = self.next.len();
        thread * count / threads..(thread + 1) * count / threads
    }

    /// Runs tasks until none is left, those of `thread` first.
    fn take_tasks(&self, thread: usize, current: Loop) -> std::thread::Result<()> {
        let outer = INSIDE.replace(true);
        let threads = self.next.len();
        let result = catch_unwind(AssertUnwindSafe(|| {
            for of in (thread..threads).chain(0..thread) {
                let end = self.own_tasks(of, current.count).end;
                loop {
                    let index = self.next[of].0.fetch_add(1, Ordering::Relaxed);
                    if index >= end {
                        break;
                    }
                    // SAFETY: the closure's owner waits until every thread inside has left.
                    unsafe { (*current.task)(index) };
                }
            }
        }));
        INSIDE.set(outer);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for count in [1, 2, 4] {
            let threads = Threads::new(count).unwrap();
            assert_eq!(threads.count(), count);
            for tasks in [0, 1, 2, 3, 100] {
                for _ in 0..200 {
                    let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    threads.for_each(tasks, |index| {
                        runs[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn sleepers_wake_and_loops_nest() {
        let threads = Threads::new(3).unwrap();
        for pause in [0, 1, 3] {
            std::thread::sleep(Duration::from_millis(pause));
            let sum = AtomicUsize::new(0);
            threads.for_each(10, |outer| {
                threads.for_each(10, |inner| {
                    sum.fetch_add(outer * inner, Ordering::Relaxed);
                });
            });
            assert_eq!(sum.into_inner(), 45 * 45);
        }
    }

    #[test]
    fn several_callers_take_turns() {
        let threads = Threads::new(2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let sum = AtomicUsize::new(0);
                    for _ in 0..100 {
                        threads.for_each(20, |index| {
                            sum.fetch_add(index, Ordering::Relaxed);
                        });
                    }
                    assert_eq!(sum.into_inner(), 19_000);
                });
            }
        });
    }

    #[test]
    fn rows_are_cut_into_pieces() {
        let threads = Threads::new(2).unwrap();
        let mut values = vec![0; 21];
        threads.for_rows(&mut values, 3, 2, |rows, values| {
            for (row, values) in rows.zip(values.chunks_exact_mut(3)) {
                values.fill(row);
            }
        });
        assert_eq!(values, (0..21).map(|at| at / 3).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_threads_go_on() {
        let threads = Threads::new(2).unwrap();
        for _ in 0..20 {
            let result = catch_unwind(AssertUnwindSafe(|| {
                threads.for_each(8, |index| assert!(index != 5, "five"));
            }));
            assert!(result.is_err());
            let sum = AtomicUsize::new(0);
            threads.for_each(8, |index| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 28);
        }
    }
}
