//! The CPU's inner loops: which instructions to use ([`KernelPath`]), matrix products ([`gemm`]) of stored matrices
//! ([`source`]) and vector arithmetic ([`simd`]).
//!
//! Every output element is one chain of additions in a fixed order, so a row's result depends neither on the other rows of
//! the batch nor on the number of threads. Paths differ from one another in the last bits; a path never differs from itself.

pub mod few_rows;
pub mod gemm;
pub mod lanes;
pub(crate) mod microkernel;
pub mod peak;
pub mod quantised;
pub mod simd;
pub mod source;
pub mod threads;
pub(crate) mod transpose;

use crate::error::EngineError;

/// Environment variable that forces a path: the [name](KernelPath::name) of one.
pub const KERNELS_VARIABLE: &str = "BIOINSTRUCT_KERNELS";

/// A set of instructions that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KernelPath {
    /// Plain Rust: any processor.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// The same with products of pairs of 16-bit integers; what is kept in 32 bits is multiplied as on [`KernelPath::Avx2`].
    Avx2Pairs,
    /// AVX-512 (F, VL, BW, DQ).
    Avx512,
    /// AVX-512 with products of pairs of 16-bit integers; what is kept in 32 bits is multiplied as on [`KernelPath::Avx512`].
    Avx512Vnni,
}

impl KernelPath {
    /// All paths, slowest first.
    pub const ALL: [Self; 5] =
        [Self::Portable, Self::Avx2, Self::Avx2Pairs, Self::Avx512, Self::Avx512Vnni];

    /// The name used in manifests and by [`KERNELS_VARIABLE`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx2Pairs => "avx2-pairs",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
        }
    }

    /// This path without pairs of integers: everything is multiplied in 32 bits, whatever the weights are kept in.
    #[must_use]
    pub fn in_32_bits(self) -> Self {
        match self {
            Self::Avx2Pairs => Self::Avx2,
            Self::Avx512Vnni => Self::Avx512,
            path => path,
        }
    }

    /// Whether it multiplies pairs of 16-bit integers.
    pub const fn has_pairs(self) -> bool {
        matches!(self, Self::Avx2Pairs | Self::Avx512Vnni)
    }

    /// Whether its registers are those of AVX2, sixteen of eight values.
    pub const fn is_avx2(self) -> bool {
        matches!(self, Self::Avx2 | Self::Avx2Pairs)
    }

    /// Whether this processor can run it.
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx2Pairs => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Self::Avx512.available() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx2Pairs | Self::Avx512 | Self::Avx512Vnni => false,
        }
    }

    /// The path forced by the environment, or the fastest that this processor has.
    pub fn choose() -> Result<Self, EngineError> {
        match std::env::var(KERNELS_VARIABLE) {
            Ok(name) if !name.is_empty() => Self::ALL
                .into_iter()
                .find(|path| path.name() == name && path.available())
                .ok_or(EngineError::KernelPath { name }),
            _ => Ok(Self::ALL
                .into_iter()
                .rev()
                .find(|path| path.available())
                .unwrap_or(Self::Portable)),
        }
    }
}
