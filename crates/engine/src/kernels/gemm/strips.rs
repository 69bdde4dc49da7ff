//! [`Strips`]: columns of the right operand as a thread multiplies them.
//!
//! They are kept until the thread asks for others, as the tasks that it takes one after another often have the same columns and
//! other rows.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{GROUP, Part};

/// Most lanes of a column that are kept: more would push one another out of the second cache.
const KEPT_LANES: usize = 4096;

thread_local! {
    static STRIPS: RefCell<Strips> = RefCell::default();
}

/// Calls `work` with the strips of this thread.
pub(super) fn with_strips(work: impl FnOnce(&mut Strips)) {
    STRIPS.with_borrow_mut(work);
}

/// Lanes of a column in all parts.
fn all_lanes(parts: &[Part]) -> usize {
    parts.last().map_or(0, |part| part.before + part.lanes.len())
}

/// Whether the strips of these parts are few enough to be kept.
pub(super) fn can_be_kept(parts: &[Part]) -> bool {
    all_lanes(parts) <= KEPT_LANES
}

/// One call of [`super::multiply`], like no other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Call(u64);

impl Call {
    pub(super) fn new() -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        Self(CALLS.fetch_add(1, Ordering::Relaxed))
    }
}

/// The call, the number of the product, and its first column.
type Owner = (Call, usize, usize);

/// Strips of some columns of a product, filled part by part.
#[derive(Default)]
pub(super) struct Strips {
    lanes: Vec<u32>,
    scales: Vec<[f32; GROUP]>,
    /// Which parts are filled.
    filled: Vec<bool>,
    owner: Option<Owner>,
    /// Whether each part has a place of its own.
    kept: bool,
}

impl Strips {
    /// Makes room for the parts of an owner's strips; `again` says whether they are of use to more than one task.
    pub(super) fn begin(&mut self, owner: Owner, parts: &[Part], again: bool) {
        if self.kept && self.owner == Some(owner) {
            return;
        }
        let most = parts.iter().map(|part| part.lanes.len()).max().unwrap_or(0);
        self.kept = again && can_be_kept(parts);
        let room = if self.kept { all_lanes(parts) } else { most } * GROUP + 15;
        self.lanes.resize(self.lanes.len().max(room), 0);
        self.scales.resize(self.scales.len().max(parts.len()), [1.0; GROUP]);
        self.filled.clear();
        self.filled.resize(parts.len(), false);
        self.owner = Some(owner);
    }

    /// The strips and scales of a part, which is number `place`; where they are not there yet, `fill` writes them.
    pub(super) fn of_part(
        &mut self,
        place: usize,
        part: &Part,
        fill: impl FnOnce((&mut [u32], &mut [f32])),
    ) -> (&[u32], &[f32]) {
        // From the border of a cache line on, since a register that crosses one is loaded in two steps.
        let skip = self.lanes.as_ptr().align_offset(64).min(15);
        let start = skip + if self.kept { part.before * GROUP } else { 0 };
        let strips = &mut self.lanes[start..start + part.lanes.len() * GROUP];
        let scales = &mut self.scales[place];
        if !self.filled[place] {
            fill((strips, scales));
            self.filled[place] = self.kept;
        }
        (strips, scales)
    }
}
