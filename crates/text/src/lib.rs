//! Pure text functions: what every stage uses to compare and measure texts, with no files, clock or randomness.
//!
//! [`rouge`] and [`porter`] reproduce `rouge_score` 0.1.2 to the bit; [`novelty`] decides with them, over a growing
//! pool, which instruction is new, and [`nearest`] says how near the nearest other one is. [`chunks`] reads tagged names, [`spans`] scores extraction and short answers, [`edit`] measures how far one text is
//! from another, [`ngram`] finds verbatim overlap between corpora. Under them lie [`lcs`] (longest common subsequences),
//! [`normalize`] (white space and case), [`vocabulary`] (words as numbers) and [`numbered`] (texts as lists of them).

pub mod chunks;
pub mod edit;
pub mod lcs;
pub mod nearest;
pub mod ngram;
pub mod normalize;
pub mod novelty;
pub mod numbered;
pub mod porter;
pub mod rouge;
pub mod spans;
pub mod vocabulary;
