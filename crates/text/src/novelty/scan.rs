//! The first look at many rows: which of them differ from a query in few bits of a narrow signature.
//!
//! Rows lie eight abreast: the first word of eight rows, then their second word, and so on, so that one vector register
//! holds the same word of eight rows (two registers in AVX2). The loop is plain Rust, and written out for AVX-512, which counts bits
//! in vectors, and for AVX2, which looks them up; the processor's best one is taken at run time. All of them find the same rows.

use super::signature;

/// Rows that lie abreast: a stripe.
const LANES: usize = 8;

/// Rows whose verdicts fill one register of AVX2, a byte each; a sheet is made of whole groups.
const GROUP: usize = 32;

/// Narrow signatures of rows of one length.
#[derive(Debug, Clone)]
pub(super) struct Sheet {
    /// Words per row: 1, 2, 4, 8 or 16.
    width: usize,
    rows: usize,
    words: Vec<u64>,
}

impl Sheet {
    /// An empty sheet for rows of `width` words.
    pub(super) fn new(width: usize) -> Self {
        Self { width, rows: 0, words: Vec::new() }
    }

    pub(super) fn push(&mut self, signature: &[u64]) {
        if self.rows.is_multiple_of(GROUP) {
            self.words.resize(self.words.len() + GROUP * self.width, 0);
        }
        let lane = self.rows % LANES;
        let stripe = (self.rows - lane) * self.width;
        for (word, &bits) in signature.iter().enumerate() {
            self.words[stripe + word * LANES + lane] = bits;
        }
        self.rows += 1;
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Rows whose signatures fill half of a first-level cache.
    pub(super) fn rows_in_cache(&self) -> usize {
        2048 / self.width
    }

    /// Writes to `found` the rows of `first..first + rows_in_cache()` that differ from `query` in at most `most` bits.
    /// `first` is a multiple of [`Self::rows_in_cache`].
    pub(super) fn scan(&self, first: usize, query: &[u64], most: u32, found: &mut Vec<u32>) {
        found.clear();
        let end = self.words.len().min((first + self.rows_in_cache()) * self.width);
        let words = &self.words[first * self.width..end];
        dispatch(self.width, words, query, u64::from(most), first, found);
        while found.last().is_some_and(|&row| row as usize >= self.rows) {
            found.pop(); // a lane that no row has taken yet
        }
    }
}

/// Takes the best loop that the processor has; what it has is known after the first call.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "functions compiled for one instruction set")]
fn dispatch(
    width: usize,
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq") {
        // SAFETY: the processor has the features that the function is compiled for.
        unsafe {
            match width {
                1 => scan_avx512::<1>(words, query, most, first, found),
                2 => scan_avx512::<2>(words, query, most, first, found),
                4 => scan_avx512::<4>(words, query, most, first, found),
                8 => scan_avx512::<8>(words, query, most, first, found),
                _ => scan_avx512::<16>(words, query, most, first, found),
            }
        }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: as above.
        unsafe { by_width_avx2(width, words, query, most, first, found) }
    } else {
        by_width(width, words, query, most, first, found);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn dispatch(
    width: usize,
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    by_width(width, words, query, most, first, found);
}

/// Written out, because the compiler turns the plain loop into shuffles here: a stripe is one register per word.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
#[expect(unsafe_code, reason = "vector loads")]
fn scan_avx512<const WIDTH: usize>(
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    use std::arch::x86_64::{
        _mm512_add_epi64, _mm512_cmple_epu64_mask, _mm512_loadu_si512, _mm512_popcnt_epi64,
        _mm512_set1_epi64, _mm512_setzero_si512, _mm512_xor_si512,
    };
    let mut query_words = [_mm512_setzero_si512(); WIDTH];
    for (lanes, &word) in query_words.iter_mut().zip(query) {
        *lanes = _mm512_set1_epi64(word as i64);
    }
    let most = _mm512_set1_epi64(most as i64);
    for (at, stripe) in words.chunks_exact(LANES * WIDTH).enumerate() {
        let mut bits = _mm512_setzero_si512();
        for (lanes, query) in stripe.chunks_exact(LANES).zip(query_words) {
            // SAFETY: a chunk has eight words of 64 bits, as many as the load reads; it needs no alignment.
            let lanes = unsafe { _mm512_loadu_si512(lanes.as_ptr().cast()) };
            bits = _mm512_add_epi64(bits, _mm512_popcnt_epi64(_mm512_xor_si512(lanes, query)));
        }
        let mut near = _mm512_cmple_epu64_mask(bits, most);
        while near != 0 {
            found.push((first + at * LANES) as u32 + near.trailing_zeros());
            near &= near - 1;
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn by_width_avx2(
    width: usize,
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    match width {
        1 => scan_avx2::<1>(words, query, most, first, found),
        2 => scan_avx2::<2>(words, query, most, first, found),
        4 => scan_avx2::<4>(words, query, most, first, found),
        8 => scan_avx2::<8>(words, query, most, first, found),
        _ => scan_avx2::<16>(words, query, most, first, found),
    }
}

/// The differing bits of a group of rows are brought together, so that one comparison, and mostly one branch, does for all.
/// Not inlined, since all widths together have more constants than there are registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline(never)]
fn scan_avx2<const WIDTH: usize>(
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    use std::arch::x86_64::{
        _mm256_cmpgt_epi16, _mm256_movemask_epi8, _mm256_packs_epi16, _mm256_packs_epi32,
        _mm256_permutevar8x32_epi32, _mm256_set1_epi16, _mm256_set1_epi64x, _mm256_setr_epi32,
        _mm256_setzero_si256,
    };
    let mut query_words = [_mm256_setzero_si256(); WIDTH];
    for (lanes, &word) in query_words.iter_mut().zip(query) {
        *lanes = _mm256_set1_epi64x(word as i64);
    }
    let most = _mm256_set1_epi16(most.min(i16::MAX as u64) as i16);
    let by_stripe = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (at, group) in words.chunks_exact(GROUP * WIDTH).enumerate() {
        let mut bits = [_mm256_setzero_si256(); GROUP / LANES];
        for (stripe, bits) in group.chunks_exact(LANES * WIDTH).zip(&mut bits) {
            *bits = stripe_bits_avx2(stripe, &query_words);
        }
        let is_far = _mm256_packs_epi16(
            _mm256_cmpgt_epi16(_mm256_packs_epi32(bits[0], bits[1]), most),
            _mm256_cmpgt_epi16(_mm256_packs_epi32(bits[2], bits[3]), most),
        );
        let mut near = !_mm256_movemask_epi8(_mm256_permutevar8x32_epi32(is_far, by_stripe)) as u32;
        // Packing has put the rows of each stripe in the order 0, 1, 4, 5, 2, 3, 6, 7.
        near = near & 0xC3C3_C3C3 | (near & 0x0C0C_0C0C) << 2 | (near & 0x3030_3030) >> 2;
        while near != 0 {
            found.push((first + at * GROUP) as u32 + near.trailing_zeros());
            near &= near - 1;
        }
    }
}

/// In how many bits each of eight rows differs from the query, in eight lanes of 32 bits, rows in the order 0, 1, 4, 5, 2, 3, 6, 7.
///
/// Bits are counted by looking up each half of a byte; counts of bytes are added up over the words of a row, of which there are
/// at most sixteen, and once for each row over its bytes. No closures: they would have the features, and what calls them not.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
#[expect(unsafe_code, reason = "vector loads")]
fn stripe_bits_avx2<const WIDTH: usize>(
    stripe: &[u64],
    query: &[std::arch::x86_64::__m256i; WIDTH],
) -> std::arch::x86_64::__m256i {
    use std::arch::x86_64::{
        _mm256_add_epi8, _mm256_and_si256, _mm256_loadu_si256, _mm256_packs_epi32, _mm256_sad_epu8,
        _mm256_set1_epi8, _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8,
        _mm256_srli_epi16, _mm256_xor_si256,
    };
    const HALF: usize = LANES / 2;
    let counts = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3,
        3, 4,
    );
    let low_halves = _mm256_set1_epi8(0x0F);
    let mut bits = [_mm256_setzero_si256(); 2];
    for (word, &query) in query.iter().enumerate() {
        for (half, bits) in bits.iter_mut().enumerate() {
            let start = stripe[word * LANES + half * HALF..][..HALF].as_ptr();
            // SAFETY: the four words that the load reads are those of the slice; it needs no alignment.
            let lanes = unsafe { _mm256_loadu_si256(start.cast()) };
            let differing = _mm256_xor_si256(lanes, query);
            let low = _mm256_and_si256(differing, low_halves);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(differing), low_halves);
            let of_halves = _mm256_add_epi8(
                _mm256_shuffle_epi8(counts, low),
                _mm256_shuffle_epi8(counts, high),
            );
            *bits = _mm256_add_epi8(*bits, of_halves);
        }
    }
    let zero = _mm256_setzero_si256();
    _mm256_packs_epi32(_mm256_sad_epu8(bits[0], zero), _mm256_sad_epu8(bits[1], zero))
}

#[inline(always)]
fn by_width(
    width: usize,
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    match width {
        1 => scan::<1>(words, query, most, first, found),
        2 => scan::<2>(words, query, most, first, found),
        4 => scan::<4>(words, query, most, first, found),
        8 => scan::<8>(words, query, most, first, found),
        _ => scan::<16>(words, query, most, first, found),
    }
}

#[inline(always)]
fn scan<const WIDTH: usize>(
    words: &[u64],
    query: &[u64],
    most: u64,
    first: usize,
    found: &mut Vec<u32>,
) {
    let mut query_words = [0; WIDTH];
    query_words.copy_from_slice(query);
    for (at, stripe) in words.chunks_exact(LANES * WIDTH).enumerate() {
        for (lane, bits) in stripe_bits::<WIDTH>(stripe, &query_words).into_iter().enumerate() {
            if bits <= most {
                found.push((first + at * LANES + lane) as u32);
            }
        }
    }
}

/// In how many bits each of eight rows differs from the query.
#[inline(always)]
fn stripe_bits<const WIDTH: usize>(stripe: &[u64], query: &[u64; WIDTH]) -> [u64; LANES] {
    let mut bits = [0; LANES];
    for (words, &query) in stripe.chunks_exact(LANES).zip(query) {
        for lane in 0..LANES {
            bits[lane] += u64::from((words[lane] ^ query).count_ones());
        }
    }
    bits
}

/// Second look: whether a row's wide signature is near enough too.
#[inline]
pub(super) fn is_near(wide: &[u64], query: &[u64], most: u32) -> bool {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("popcnt") {
        #[expect(unsafe_code, reason = "a function compiled for one instruction set")]
        // SAFETY: the processor has the instruction.
        return unsafe { differing_bits_popcnt(wide, query) } <= most;
    }
    signature::differing_bits(wide, query) <= most
}

/// With the processor's own instruction for a word.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt")]
fn differing_bits_popcnt(left: &[u64], right: &[u64]) -> u32 {
    let mut bits = 0;
    for at in 0..left.len().min(right.len()) {
        bits += (left[at] ^ right[at]).count_ones();
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::mix;

    /// Every instruction set that this processor has finds the rows of the definition, also in a part-filled stripe.
    #[test]
    #[expect(unsafe_code, reason = "functions compiled for one instruction set")]
    fn all_instruction_sets_find_the_same_rows() {
        for width in [1_usize, 2, 4, 8, 16] {
            let word = |at: usize| mix((at / 3) as u64) & mix(at as u64);
            let mut sheet = Sheet::new(width);
            let rows: Vec<Vec<u64>> = (0..3000)
                .map(|row| (0..width).map(|at| word(row * width + at)).collect())
                .collect();
            for row in &rows {
                sheet.push(row);
            }
            assert_eq!(sheet.len(), rows.len());
            for most in [0, 14, 20 * width as u32, 1000] {
                let query = &rows[2777];
                let mut found = Vec::new();
                let mut others = [Vec::new(), Vec::new()];
                let mut all = Vec::new();
                for first in (0..rows.len()).step_by(sheet.rows_in_cache()) {
                    sheet.scan(first, query, most, &mut found);
                    all.append(&mut found);
                    let end = sheet.words.len().min((first + sheet.rows_in_cache()) * width);
                    let words = &sheet.words[first * width..end];
                    let most = u64::from(most);
                    by_width(width, words, query, most, first, &mut others[0]);
                    #[cfg(target_arch = "x86_64")]
                    if is_x86_feature_detected!("avx2") {
                        // SAFETY: the processor has the feature.
                        unsafe { by_width_avx2(width, words, query, most, first, &mut others[1]) }
                        continue;
                    }
                    by_width(width, words, query, most, first, &mut others[1]);
                }
                let expected: Vec<u32> = (0_u32..)
                    .zip(&rows)
                    .filter(|(_, row)| is_near(row, query, most))
                    .map(|(row, _)| row)
                    .collect();
                assert!(expected.contains(&2777));
                assert_eq!(all, expected, "{width} {most}");
                for mut other in others {
                    other.retain(|&row| (row as usize) < rows.len());
                    assert_eq!(other, expected, "{width} {most}");
                }
            }
        }
    }
}
