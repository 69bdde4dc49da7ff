//! A value with its interval on a common axis: the rows of a forest plot, and of a plot of paired differences.

use std::fmt::Write;

use super::super::number;
use super::{Axis, coordinate};

/// The shape of the point; shapes tell models apart without colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Mark {
    /// Hollow circle.
    Base,
    /// Hollow square.
    OwnChat,
    /// Filled circle in the accent colour.
    Tuned,
    /// Hollow diamond: a difference within noise.
    Noise,
    /// Filled diamond: a difference beyond noise.
    Beyond,
}

impl Mark {
    /// The class in the style sheet.
    pub(in super::super) const fn class(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::OwnChat => "own-chat",
            Self::Tuned => "tuned",
            Self::Noise => "noise",
            Self::Beyond => "beyond",
        }
    }
}

/// A row of a forest plot, for a table cell; `references` are upright dashed lines, such as chance.
pub(in super::super) fn value(
    axis: &Axis,
    value: f64,
    ends: Option<(f64, f64)>,
    mark: Mark,
    references: &[f64],
) -> String {
    let references = references.iter().map(|&at| ("chance", at));
    row(axis, value, ends, mark, references, 26)
}

/// A row of a plot of differences: a line at zero, and high enough for two or three lines of text beside it.
pub(in super::super) fn difference(
    axis: &Axis,
    value: f64,
    ends: Option<(f64, f64)>,
    mark: Mark,
) -> String {
    row(axis, value, ends, mark, [("zero", 0.0)], 48)
}

fn row(
    axis: &Axis,
    value: f64,
    ends: Option<(f64, f64)>,
    mark: Mark,
    uprights: impl IntoIterator<Item = (&'static str, f64)>,
    height: u32,
) -> String {
    let at = |value: f64| coordinate(axis.percent(value));
    let mut drawing = format!(
        "<svg class=\"interval\" width=\"100%\" height=\"{height}\" aria-hidden=\"true\" focusable=\"false\">"
    );
    let grid = axis.ticks.iter().map(|&tick| ("grid", tick));
    for (class, place) in grid.chain(uprights) {
        let x = at(place);
        // Writing to a string cannot fail.
        let _ = write!(
            drawing,
            "<line class=\"{class}\" x1=\"{x}%\" x2=\"{x}%\" y1=\"0\" y2=\"100%\"/>"
        );
    }
    if let Some((low, high)) = ends {
        let _ = write!(
            drawing,
            "<line class=\"range {}\" x1=\"{}%\" x2=\"{}%\" y1=\"50%\" y2=\"50%\"/>",
            mark.class(),
            at(low),
            at(high)
        );
    }
    drawing.push_str(&point(&at(value), mark));
    drawing.push_str("</svg>");
    drawing
}

/// A sample of the mark, for legends.
pub(in super::super) fn key(mark: Mark) -> String {
    format!(
        "<svg class=\"key\" width=\"16\" height=\"26\" aria-hidden=\"true\" focusable=\"false\">{}</svg>",
        point("50", mark)
    )
}

fn point(x: &str, mark: Mark) -> String {
    let class = mark.class();
    // A nested drawing at a percentage lets the shapes that need corners be drawn in pixels.
    let shape = match mark {
        Mark::Base | Mark::Tuned => "<circle cx=\"0\" cy=\"0\" r=\"5\"/>",
        Mark::OwnChat => "<rect x=\"-4.5\" y=\"-4.5\" width=\"9\" height=\"9\"/>",
        Mark::Noise | Mark::Beyond => "<path d=\"M-6 0 0 -6 6 0 0 6Z\"/>",
    };
    format!("<svg class=\"point {class}\" x=\"{x}%\" y=\"50%\" overflow=\"visible\">{shape}</svg>")
}

/// The tick labels under a column of rows.
pub(in super::super) fn labels(axis: &Axis, signed: bool) -> String {
    let mut drawing = String::from(
        "<svg class=\"ticks\" width=\"100%\" height=\"16\" aria-hidden=\"true\" focusable=\"false\">",
    );
    let decimals = axis.decimals();
    for tick in axis.labelled(4) {
        let place = axis.percent(tick);
        let anchor = match place {
            at if at < 1.0 => "start",
            at if at > 99.0 => "end",
            _ => "middle",
        };
        let text =
            if signed { number::signed(tick, decimals) } else { number::fixed(tick, decimals) };
        let x = coordinate(place);
        // Writing to a string cannot fail.
        let _ = write!(drawing, "<text x=\"{x}%\" y=\"12\" text-anchor=\"{anchor}\">{text}</text>");
    }
    drawing.push_str("</svg>");
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_holds_its_interval_point_and_references() {
        let axis = Axis::around([0.0, 100.0], 4);
        let ends = Some((22.5, 50.0));
        let drawing = value(&axis, 35.0, ends, Mark::Tuned, &[25.0]);
        assert!(drawing.contains("class=\"range tuned\" x1=\"22.5%\" x2=\"50%\""));
        assert!(drawing.contains("class=\"point tuned\" x=\"35%\""));
        assert!(drawing.contains("class=\"chance\" x1=\"25%\""));
        assert!(!drawing.contains("class=\"zero\""));
        assert!(difference(&axis, 1.0, None, Mark::Noise).contains("class=\"zero\""));
    }

    #[test]
    fn labels_keep_their_sign() {
        let drawing = labels(&Axis::symmetric([8.0], 4), true);
        assert!(drawing.contains(">+10<") && drawing.contains(">−10<"), "{drawing}");
    }
}
