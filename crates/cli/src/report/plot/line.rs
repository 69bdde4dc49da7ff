//! Curves over steps: losses, learning rate.

use std::fmt::Write;

use super::super::number;
use super::{Axis, coordinate, escape};

/// Curves with more markers get smaller ones.
const MOST_LARGE_MARKERS: usize = 20;

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Curve {
    /// Class in the style sheet.
    pub class: &'static str,
    /// Ascending in x; what is not finite is left out.
    pub points: Vec<(f64, f64)>,
    /// Whether each point gets a marker with its value as tooltip.
    pub marked: bool,
}

/// A chart: curves on common axes.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Chart<'a> {
    /// Drawn in order, later ones on top.
    pub curves: &'a [Curve],
    /// Read out in place of the drawing.
    pub title: &'a str,
    /// Under the horizontal axis.
    pub x_label: &'a str,
    /// Before the number in a marker's tooltip.
    pub x_name: &'a str,
    /// Pixels of the plotting area.
    pub height: u32,
    /// About so many ticks upright.
    pub y_ticks: usize,
    /// The horizontal axis, shared by charts above one another.
    pub x: &'a Axis,
}

impl Chart<'_> {
    /// The chart as a grid of three drawings: labels of the upright axis, curves, labels of the horizontal one.
    pub(in super::super) fn draw(&self) -> String {
        let values = self.curves.iter().flat_map(|curve| curve.points.iter());
        let y = Axis::around(values.map(|point| point.1), self.y_ticks);
        format!(
            "<div class=\"chart\" role=\"img\" aria-label=\"{}\">{}{}{}</div>",
            escape(self.title),
            self.upright_labels(&y),
            self.plot(&y),
            self.bottom_labels()
        )
    }

    fn y_at(&self, y: &Axis, value: f64) -> f64 {
        f64::from(self.height) * (1.0 - y.percent(value) / 100.0)
    }

    fn upright_labels(&self, y: &Axis) -> String {
        let mut drawing = format!(
            "<svg class=\"upright\" width=\"100%\" height=\"{}\" overflow=\"visible\">",
            self.height
        );
        // Ticks that would need many decimals are written as powers of ten, all of them.
        let small = y.decimals() > 4;
        for tick in &y.ticks {
            let text =
                if small { number::compact(*tick) } else { number::fixed(*tick, y.decimals()) };
            // Writing to a string cannot fail.
            let _ = write!(
                drawing,
                "<text x=\"100%\" y=\"{}\" dy=\"4\" text-anchor=\"end\">{text}</text>",
                coordinate(self.y_at(y, *tick))
            );
        }
        drawing.push_str("</svg>");
        drawing
    }

    fn plot(&self, y: &Axis) -> String {
        let mut drawing = format!(
            "<svg class=\"plot\" width=\"100%\" height=\"{}\" overflow=\"visible\">",
            self.height
        );
        for tick in &y.ticks {
            let at = coordinate(self.y_at(y, *tick));
            let _ = write!(
                drawing,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{at}\" y2=\"{at}\"/>"
            );
        }
        // Lines are stretched to the width, their strokes are not; markers keep their shape outside the stretched part.
        let _ = write!(
            drawing,
            "<svg width=\"100%\" height=\"{0}\" viewBox=\"0 0 100 {0}\" preserveAspectRatio=\"none\" overflow=\"visible\">",
            self.height
        );
        for curve in self.curves {
            let mut path = String::new();
            for (x, value) in finite(curve) {
                let _ = write!(
                    path,
                    "{}{} {}",
                    if path.is_empty() { 'M' } else { 'L' },
                    coordinate(self.x.percent(x)),
                    coordinate(self.y_at(y, value))
                );
            }
            let _ = write!(drawing, "<path class=\"curve {}\" d=\"{path}\"/>", curve.class);
        }
        drawing.push_str("</svg>");
        for curve in self.curves.iter().filter(|curve| curve.marked) {
            for (x, value) in finite(curve) {
                let _ = write!(
                    drawing,
                    "<circle class=\"marker {}\" cx=\"{}%\" cy=\"{}\" r=\"{}\"><title>{} {}: {}</title></circle>",
                    curve.class,
                    coordinate(self.x.percent(x)),
                    coordinate(self.y_at(y, value)),
                    if finite(curve).count() > MOST_LARGE_MARKERS { "3" } else { "4.5" },
                    self.x_name,
                    if x.fract() == 0.0 { number::count(x as u64) } else { number::compact(x) },
                    if value.fract() == 0.0 {
                        number::count(value as u64)
                    } else {
                        number::fixed(value, 4)
                    }
                );
            }
        }
        drawing.push_str("</svg>");
        drawing
    }

    fn bottom_labels(&self) -> String {
        let mut drawing = String::from(
            "<svg class=\"bottom\" width=\"100%\" height=\"34\" overflow=\"visible\">",
        );
        for tick in self.x.labelled(6) {
            let _ = write!(
                drawing,
                "<text x=\"{}%\" y=\"14\" text-anchor=\"middle\">{}</text>",
                coordinate(self.x.percent(tick)),
                number::fixed(tick, self.x.decimals())
            );
        }
        let _ = write!(
            drawing,
            "<text class=\"axis-name\" x=\"50%\" y=\"30\" text-anchor=\"middle\">{}</text></svg>",
            escape(self.x_label)
        );
        drawing
    }
}

fn finite(curve: &Curve) -> impl Iterator<Item = (f64, f64)> {
    let points = curve.points.iter().copied();
    points.filter(|(x, value)| x.is_finite() && value.is_finite())
}

/// At most `most` points: each is the mean of a run of neighbours, so noise is averaged and no end is lost.
pub(in super::super) fn thinned(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points.to_vec();
    }
    let size = points.len().div_ceil(most);
    let mean = |part: &[(f64, f64)]| {
        let count = part.len() as f64;
        let sum = part.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(size).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_go_through_their_points() {
        let curves = [
            Curve {
                class: "train",
                points: vec![(0.0, 4.0), (10.0, 2.0), (20.0, f64::NAN)],
                marked: false,
            },
            Curve { class: "dev", points: vec![(0.0, 3.0)], marked: true },
        ];
        let x = Axis::around([0.0, 20.0], 4);
        let chart = Chart {
            curves: &curves,
            title: "loss <by> step",
            x_label: "step",
            x_name: "step",
            height: 200,
            y_ticks: 2,
            x: &x,
        };
        let drawing = chart.draw();
        assert!(drawing.contains("class=\"curve train\" d=\"M0 0L50 200\""), "{drawing}");
        assert!(drawing.contains("cx=\"0%\" cy=\"100\""));
        assert!(drawing.contains("loss &lt;by&gt; step"));
        assert!(!drawing.contains("NaN"));
    }

    #[test]
    fn thinning_keeps_the_mean() {
        let points: Vec<(f64, f64)> = (0..1000).map(|step| (f64::from(step), 2.0)).collect();
        let few = thinned(&points, 300);
        assert_eq!(few.len(), 250);
        assert_eq!(few[0], (1.5, 2.0));
    }
}
