//! Inline SVG charts, one file per kind; [`Axis`] is the scale they share.
//!
//! No chart but [`sunburst`] has a `viewBox` around text: positions are percentages of the width it gets, heights and type sizes are
//! pixels, so a chart is as readable on a phone as on a wide screen. Colours are classes of the page's style sheet.
//! Numbers drawn here also stand in the page as text.

pub(super) mod bar;
pub(super) mod histogram;
pub(super) mod interval;
pub(super) mod line;
pub(super) mod scatter;
pub(super) mod sunburst;

/// A linear scale with round ticks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// Left or bottom end.
    pub low: f64,
    /// Right or top end; above `low`.
    pub high: f64,
    /// Round values from `low` to `high`.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// Round ends around the values, with about `wanted` ticks; values that are not finite are passed over.
    pub(super) fn around(values: impl IntoIterator<Item = f64>, wanted: usize) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.into_iter().filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if high - low <= f64::EPSILON * high.abs().max(low.abs()) {
            let margin = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low, high) = (low - margin, high + margin);
        }
        let step = round_step((high - low) / wanted.max(1) as f64);
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil().min(first + 1000.0);
        let ticks: Vec<f64> = (0..=(last - first) as usize)
            .map(|position| (first + position as f64) * step)
            .collect();
        Self { low: first * step, high: last * step, ticks }
    }

    /// Zero in the middle.
    pub(super) fn symmetric(values: impl IntoIterator<Item = f64>, wanted: usize) -> Self {
        let reach = values
            .into_iter()
            .filter(|value| value.is_finite())
            .fold(0.0, |reach: f64, value| reach.max(value.abs()));
        Self::around([-reach, reach], wanted)
    }

    /// Where a value lies, in percent from the low end; what lies outside is put on the edge.
    pub(super) fn percent(&self, value: f64) -> f64 {
        (100.0 * (value - self.low) / (self.high - self.low)).clamp(0.0, 100.0)
    }

    /// The ticks to label when there is room for about `most`: evenly spaced, zero always among them.
    pub(super) fn labelled(&self, most: usize) -> impl Iterator<Item = f64> {
        let every = self.ticks.len().saturating_sub(1).div_ceil(most).max(1);
        let zero = self.ticks.iter().position(|tick| tick.abs() < 1e-12 * self.high.abs());
        let first = zero.unwrap_or(0) % every;
        self.ticks.iter().copied().skip(first).step_by(every)
    }

    /// Decimals that write the ticks in full.
    pub(super) fn decimals(&self) -> usize {
        let step = match self.ticks.as_slice() {
            [first, second, ..] => second - first,
            _ => 1.0,
        };
        let is_whole = |decimals: &usize| {
            let scaled = step * 10f64.powi(*decimals as i32);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        };
        (0..9).find(is_whole).unwrap_or(9)
    }
}

/// The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0];
    let fits = factors.into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9));
    fits.unwrap_or(10.0) * power
}

/// A coordinate: two decimals are a fiftieth of a pixel on a wide screen.
pub(super) fn coordinate(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "" | "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// Text made safe for element content and quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_ticks_are_round() {
        let axis = Axis::around([0.13, 0.87], 4);
        assert_eq!((axis.low, axis.high, axis.ticks.len()), (0.0, 1.0, 6));
        assert_eq!(axis.decimals(), 1);
        let axis = Axis::around([-12.0, 31.0], 5);
        assert_eq!(axis.labelled(3).collect::<Vec<_>>(), [-20.0, 0.0, 20.0, 40.0]);
        assert_eq!(axis.ticks, [-20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(Axis::around([1.8, 2.9], 5).decimals(), 2);
        let axis = Axis::symmetric([-3.0, 8.0], 4);
        assert!((axis.low + axis.high).abs() < 1e-12);
        assert!((axis.percent(0.0) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn odd_values_give_a_usable_axis() {
        for values in [
            vec![],
            vec![f64::NAN],
            vec![0.0],
            vec![5.0, 5.0],
            vec![1e-5],
            vec![-7.0],
            vec![f64::INFINITY, 1.0],
        ] {
            let axis = Axis::around(values.clone(), 4);
            assert!(axis.low < axis.high && axis.ticks.len() >= 2, "{values:?}: {axis:?}");
            assert!(axis.ticks.iter().all(|tick| tick.is_finite()));
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
        assert_eq!((coordinate(-0.001), coordinate(12.5)), ("0".into(), "12.5".into()));
    }
}
