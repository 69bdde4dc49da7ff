//! The inner products of attention in integers: [`PairProducts`], tiles of sums that stay in registers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "x86_64")]
pub(super) use self::avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use self::vnni::Vnni;
use crate::kernels::lanes::{integer, pair};
use crate::kernels::simd::Separate;

/// Lanes of a register.
pub(super) const W: usize = 16;
/// Rows of a tile.
pub(super) const M: usize = 8;
/// Pairs of a strip's rows.
pub(super) const HALF: usize = W / 2;

/// Where a tile's left operand lies: row m begins at `at[m]`, its lanes are `step` apart.
#[derive(Clone, Copy)]
pub(super) struct TileRows<'a, const M: usize> {
    pub(super) lanes: &'a [u32],
    pub(super) at: [usize; M],
    pub(super) step: usize,
}

impl<const M: usize> TileRows<'_, M> {
    /// What reading them through pointers rests on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn check(&self, count: usize) {
        let last = count.saturating_sub(1) * self.step;
        let ends_inside = |at: &usize| at + last < self.lanes.len();
        assert!(self.at.iter().all(ends_inside), "rows are as long as the panel");
    }
}

/// Integers in pairs, and products of `M` rows of them with a panel of as many lanes as the rows have.
pub(super) trait PairProducts {
    /// out\[lane] holds the integers next to low\[lane] · `low_up`\[lane] and high\[lane] · `high_up`\[lane].
    fn pairs(low: (&[f32; W], &[f32; W]), high: (&[f32; W], &[f32; W]), out: &mut [u32; W]);

    /// out\[j] holds the integers next to values\[lane] · up\[lane] of lanes j and j + 8.
    fn folded(values: &[f32; W], up: &[f32; W], out: &mut [u32; HALF]);

    /// out\[m]\[lane] = (Σᵢ rows\[m]\[i] · panel\[i]\[lane]) · scales\[lane] · `row_scales`\[m]; without scales of rows it is added to
    /// `out`.
    fn multiply<const M: usize>(
        out: &mut [[f32; W]; M],
        rows: TileRows<'_, M>,
        panel: &[[u32; W]],
        scales: &[f32; W],
        row_scales: Option<&[f32; M]>,
    );
}

/// The definition.
pub(super) struct Plain;

impl Plain {
    fn sum<const M: usize>(
        TileRows { lanes, at, step }: TileRows<'_, M>,
        panel: &[[u32; W]],
        (m, lane): (usize, usize),
    ) -> f32 {
        let halves = |lane: u32| [lane as i16, (lane >> 16) as i16].map(i32::from);
        let products = panel.iter().enumerate().map(|(i, panel)| {
            let ([low, high], [other_low, other_high]) =
                (halves(lanes[at[m] + i * step]), halves(panel[lane]));
            (low * other_low).wrapping_add(high * other_high)
        });
        // Sums on the way may wrap; the whole one does not.
        products.fold(0i32, i32::wrapping_add) as f32
    }
}

impl PairProducts for Plain {
    fn pairs(low: (&[f32; W], &[f32; W]), high: (&[f32; W], &[f32; W]), out: &mut [u32; W]) {
        for lane in 0..W {
            let [low, high] =
                [low, high].map(|(values, up)| integer::<Separate>(values[lane], up[lane]));
            out[lane] = pair(low, high);
        }
    }

    fn folded(values: &[f32; W], up: &[f32; W], out: &mut [u32; HALF]) {
        let integer = |lane: usize| integer::<Separate>(values[lane], up[lane]);
        for (lane, out) in out.iter_mut().enumerate() {
            *out = pair(integer(lane), integer(lane + HALF));
        }
    }

    fn multiply<const M: usize>(
        out: &mut [[f32; W]; M],
        rows: TileRows<'_, M>,
        panel: &[[u32; W]],
        scales: &[f32; W],
        row_scales: Option<&[f32; M]>,
    ) {
        for (m, out) in out.iter_mut().enumerate() {
            for lane in 0..W {
                let sum = Self::sum(rows, panel, (m, lane)) * scales[lane];
                out[lane] = row_scales.map_or(out[lane] + sum, |row_scales| sum * row_scales[m]);
            }
        }
    }
}

/// Defines a function that runs `$body` with the instructions of its path, where that has products of pairs, else as defined.
///
/// `$body` is generic over [`Arithmetic`](crate::kernels::simd::Arithmetic) and [`PairProducts`], and must be
/// `#[inline(always)]`, or it is compiled without them.
macro_rules! dispatch_pairs {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident = $body:ident($($argument:ident: $kind:ty),* $(,)?)) => {
        $(#[$doc])*
        $visibility fn $name(path: $crate::kernels::KernelPath, $($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            fn vnni($($argument: $kind),*) {
                use $crate::kernels::simd::FusedWide;
                $body::<FusedWide, $crate::ops::attention::integers::tile::Vnni>($($argument),*);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $kind),*) {
                use $crate::kernels::simd::Fused;
                $body::<Fused, $crate::ops::attention::integers::tile::Avx2>($($argument),*);
            }
            use $crate::kernels::simd::Separate;
            #[allow(unsafe_code, reason = "`KernelPath::available` has found the instructions on this processor")]
            match path {
                // SAFETY: a path is only ever chosen when it is available.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::KernelPath::Avx512Vnni => unsafe { vnni($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::KernelPath::Avx2Pairs => unsafe { avx2($($argument),*) },
                _ => $body::<Separate, $crate::ops::attention::integers::tile::Plain>($($argument),*),
            }
        }
    };
}
pub(super) use dispatch_pairs;
