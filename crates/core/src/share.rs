//! [`Share`]: which part of a globally indexed piece of work one process does.

use serde::{Deserialize, Serialize};

/// Part `index` of `count`; [`Share::ALL`] is the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Counted from zero.
    pub index: u64,
    /// How many parts there are; at least one.
    pub count: u64,
}

impl Share {
    /// One process does everything.
    pub const ALL: Self = Self { index: 0, count: 1 };

    /// Whether the item with this global index belongs to this part (round robin, so parts stay balanced).
    pub fn owns(self, global_index: u64) -> bool {
        global_index % self.count == self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_has_exactly_one_owner() {
        for item in 0..20 {
            let owners = (0..3).filter(|&index| Share { index, count: 3 }.owns(item)).count();
            assert_eq!(owners, 1);
            assert!(Share::ALL.owns(item));
        }
    }
}
