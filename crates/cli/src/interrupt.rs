//! Interrupts: every stage may be killed at any time, so the first signal ends the process at once; only training asks for
//! time to write a checkpoint ([`Interrupt::gracefully`]), which is said at once, and a second signal ends that too.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::console::complain;

/// The flags that signals set.
#[derive(Debug)]
pub(crate) struct Interrupt {
    abrupt: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    graceful: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over SIGINT and SIGTERM.
    pub(crate) fn install() -> anyhow::Result<Self> {
        let interrupt = Self {
            abrupt: Arc::new(AtomicBool::new(true)),
            stop: Arc::new(AtomicBool::new(false)),
            graceful: Arc::new(AtomicBool::new(false)),
        };
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupt.abrupt))?;
            flag::register(signal, Arc::clone(&interrupt.abrupt))?;
            flag::register(signal, Arc::clone(&interrupt.stop))?;
        }
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let graceful = Arc::clone(&interrupt.graceful);
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            // The others end the process themselves.
            if signals.forever().any(|_| graceful.load(Ordering::SeqCst)) {
                // A bar may stand in the line.
                let clean = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
                complain(&format!(
                    "{clean}stopping: what is finished goes into a checkpoint; a second signal ends at once"
                ));
            }
        })?;
        Ok(interrupt)
    }

    /// Runs work that watches the flag instead of being ended by the first signal.
    pub(crate) fn gracefully<R>(&self, work: impl FnOnce(&Arc<AtomicBool>) -> R) -> R {
        self.graceful.store(true, Ordering::SeqCst);
        self.abrupt.store(false, Ordering::SeqCst);
        let result = work(&self.stop);
        self.abrupt.store(true, Ordering::SeqCst);
        self.graceful.store(false, Ordering::SeqCst);
        result
    }
}
