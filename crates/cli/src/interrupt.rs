//! Interrupts: every stage may be killed at any time, so the first signal ends the process at once; only training asks for
//! time to write a checkpoint ([`Interrupt::gracefully`]), and a second signal ends that too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The flags that signals set.
#[derive(Debug)]
pub(crate) struct Interrupt {
    abrupt: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over SIGINT and SIGTERM.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let interrupt = Self {
            abrupt: Arc::new(AtomicBool::new(true)),
            stop: Arc::new(AtomicBool::new(false)),
        };
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupt.abrupt))?;
            flag::register(signal, Arc::clone(&interrupt.abrupt))?;
            flag::register(signal, Arc::clone(&interrupt.stop))?;
        }
        Ok(interrupt)
    }

    /// Runs work that watches the flag instead of being ended by the first signal.
    pub(crate) fn gracefully<R>(&self, work: impl FnOnce(&AtomicBool) -> R) -> R {
        self.abrupt.store(false, Ordering::SeqCst);
        let result = work(&self.stop);
        self.abrupt.store(true, Ordering::SeqCst);
        result
    }
}
