//! Points on a plane, each in the shape of its kind, so that the kinds are told apart without colour.

use std::fmt::Write;

use super::{Axis, coordinate, escape};

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Point {
    /// Across.
    pub x: f64,
    /// Upwards.
    pub y: f64,
    /// Which of [`SHAPES`].
    pub shape: usize,
    /// The tooltip.
    pub label: String,
}

/// The shapes by their style: filled, hollow, square, cross, and small for what has no kind.
pub(in super::super) const SHAPES: [&str; 5] = ["filled", "hollow", "square", "cross", "none"];

const HEIGHT: f64 = 420.0;
/// Room at the edges, in percent, so that no shape is cut.
const MARGIN: f64 = 1.5;

/// The points without axes: directions of a map have no unit. `title` is read out in place of the drawing.
pub(in super::super) fn scatter(points: &[Point], title: &str) -> String {
    let (across, upwards) =
        (range(points.iter().map(|point| point.x)), range(points.iter().map(|point| point.y)));
    let mut drawing = format!(
        "<svg class=\"scatter\" width=\"100%\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escape(title)
    );
    let inner = 1.0 - 2.0 * MARGIN / 100.0;
    for point in points {
        let x = MARGIN + across.percent(point.x) * inner;
        let y = HEIGHT * (1.0 - (MARGIN + upwards.percent(point.y) * inner) / 100.0);
        let _ = write!(
            drawing,
            "<svg x=\"{}%\" y=\"{}\" overflow=\"visible\"><g>{}<title>{}</title></g></svg>",
            coordinate(x),
            coordinate(y),
            mark(point.shape),
            escape(&point.label)
        );
    }
    drawing + "</svg>"
}

/// The extent of the values without rounding, since nothing is written at its ends.
fn range(values: impl Iterator<Item = f64> + Clone) -> Axis {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    if low < high { Axis { low, high, ticks: Vec::new() } } else { Axis::around([low], 1) }
}

fn mark(shape: usize) -> String {
    let class = SHAPES[shape.min(SHAPES.len() - 1)];
    match class {
        "square" => "<rect class=\"mark square\" x=\"-2.5\" y=\"-2.5\" width=\"5\" height=\"5\"/>"
            .to_owned(),
        "cross" => "<path class=\"mark cross\" d=\"M-3-3L3 3M-3 3L3-3\"/>".to_owned(),
        class => {
            let radius = if class == "none" { 1.5 } else { 2.8 };
            format!("<circle class=\"mark {class}\" r=\"{radius}\"/>")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_keep_their_order_and_stay_inside() {
        let point = |x: f64, y: f64, shape| Point { x, y, shape, label: "a <b>".to_owned() };
        let drawing = scatter(&[point(-2.0, 1.0, 0), point(6.0, 3.0, 3)], "map");
        assert!(drawing.contains("x=\"1.5%\"") && drawing.contains("x=\"98.5%\""), "{drawing}");
        assert!(drawing.contains("y=\"413.7\"") && drawing.contains("y=\"6.3\""), "{drawing}");
        assert!(drawing.contains("a &lt;b&gt;") && drawing.contains("mark cross"));
        assert!(scatter(&[point(1.0, 1.0, 9)], "map").contains("mark none"));
        assert!(scatter(&[], "map").ends_with("</svg>"));
    }
}
