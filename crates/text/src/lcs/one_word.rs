//! Patterns of up to 64 tokens, which are nearly all instructions: [`OneWord`].

/// The masks of a pattern of up to 64 tokens, found without a branch: a table in which no two of its tokens fall on one
/// place, so that a place holds the token or does not.
#[derive(Debug, Clone)]
pub(super) struct OneWord {
    multiplier: u32,
    shift: u32,
    /// Tokens and their masks; a mask of zero is an empty place.
    places: Vec<(u32, u64)>,
}

impl OneWord {
    /// Tries multipliers, and larger tables, until all tokens fall apart.
    pub(super) fn new(pattern: &[u32]) -> Self {
        let mut places = (4 * pattern.len()).next_power_of_two().max(32);
        let mut multiplier = 0x9e37_79b1_u32;
        for attempt in 1.. {
            if let Some(table) = Self::with(pattern, places, multiplier) {
                return table;
            }
            multiplier = multiplier.wrapping_mul(0x85eb_ca6b) | 1;
            if attempt % 8 == 0 {
                places *= 2;
            }
        }
        unreachable!("a table of 2³² places has one for each token")
    }

    fn with(pattern: &[u32], places: usize, multiplier: u32) -> Option<Self> {
        let shift = u32::BITS - places.trailing_zeros();
        let mut table = Self { multiplier, shift, places: vec![(0, 0); places] };
        for (position, &token) in pattern.iter().enumerate() {
            let place = table.place(token);
            let (held, mask) = &mut table.places[place];
            if *mask != 0 && *held != token {
                return None;
            }
            *held = token;
            *mask |= 1 << position;
        }
        Some(table)
    }

    fn place(&self, token: u32) -> usize {
        (token.wrapping_mul(self.multiplier) >> self.shift) as usize
    }

    /// Where `token` stands in the pattern; zero when it does not occur.
    fn mask(&self, token: u32) -> u64 {
        let (held, mask) = self.places[self.place(token)];
        if held == token { mask } else { 0 }
    }

    /// The last row of the table.
    pub(super) fn last_row(&self, text: &[u32]) -> u64 {
        let mut row = u64::MAX;
        for &token in text {
            let matched = row & self.mask(token);
            row = row.wrapping_add(matched) | (row & !matched);
        }
        row
    }

    /// Where `token` stands in the pattern, as one word of bits; `None` when it does not occur.
    pub(super) fn bits(&self, token: u32) -> Option<&[u64]> {
        let (held, mask) = &self.places[self.place(token)];
        (*held == token && *mask != 0).then(|| std::slice::from_ref(mask))
    }
}
