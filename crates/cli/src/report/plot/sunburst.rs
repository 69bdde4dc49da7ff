//! Two rings of shares: verbs inside, their nouns outside.

use std::f64::consts::TAU;
use std::fmt::Write;

use super::super::number;
use super::{coordinate, escape};

/// One arc of the inner ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Sector {
    /// Written in the arc when there is room.
    pub label: String,
    /// Its size.
    pub rows: u64,
    /// The arcs outside it; together at most as many rows.
    pub parts: Vec<(String, u64)>,
}

/// Half the width of the drawing.
const CENTRE: f64 = 280.0;

/// Where the inner ring begins, the outer one begins, and the outer one ends.
const RADII: [f64; 3] = [68.0, 168.0, 274.0];

/// An arc this high in pixels holds a line of type.
const LINE: f64 = 12.5;

/// The rings; `whole` rows make the full circle of the percentages in the tooltips, the sectors fill the circle among themselves.
///
/// Alone among the charts this one has a `viewBox`: angles cannot be percentages of a width. It is no wider than its box, and
/// smaller with its type only where the page is narrower than that.
pub(in super::super) fn sunburst(sectors: &[Sector], whole: u64, title: &str) -> String {
    let total: u64 = sectors.iter().map(|sector| sector.rows).sum();
    let mut drawing = format!(
        "<svg class=\"sunburst\" viewBox=\"0 0 {0} {0}\" width=\"{0}\" height=\"{0}\" role=\"img\" aria-label=\"{1}\">",
        2.0 * CENTRE,
        escape(title)
    );
    let share = |rows: u64| number::percent(rows as f64, whole as f64);
    let mut before = 0;
    for (position, sector) in sectors.iter().enumerate() {
        let angle = |rows: u64| TAU * rows as f64 / total.max(1) as f64;
        let (start, end) = (angle(before), angle(before + sector.rows));
        let tip = format!(
            "{}: {} rows, {}",
            sector.label,
            number::count(sector.rows),
            share(sector.rows)
        );
        let class = if position % 2 == 0 { "verb" } else { "verb odd" };
        drawing.push_str("<g>");
        arc(&mut drawing, class, [start, end], [RADII[0], RADII[1]], &sector.label, &tip);
        let mut inside = before;
        for (label, rows) in &sector.parts {
            let ends = [angle(inside), angle(inside + rows)];
            let tip = format!(
                "{} {label}: {} rows, {}",
                sector.label,
                number::count(*rows),
                share(*rows)
            );
            arc(&mut drawing, "noun", ends, [RADII[1], RADII[2]], label, &tip);
            inside += rows;
        }
        drawing.push_str("</g>");
        before += sector.rows;
    }
    drawing.push_str("</svg>");
    drawing
}

/// One arc with its tooltip, and its label along the radius where it fits.
fn arc(
    drawing: &mut String,
    class: &str,
    [start, end]: [f64; 2],
    [inner, outer]: [f64; 2],
    label: &str,
    tip: &str,
) {
    // An arc that ends where it begins is not drawn, so the full circle stops just before.
    let end = end.min(start + TAU - 1e-4);
    let at = |angle: f64, radius: f64| {
        format!(
            "{} {}",
            coordinate(CENTRE + radius * angle.sin()),
            coordinate(CENTRE - radius * angle.cos())
        )
    };
    let large = u8::from(end - start > TAU / 2.0);
    let (inner_text, outer_text) = (coordinate(inner), coordinate(outer));
    // Writing to a string cannot fail.
    let _ = write!(
        drawing,
        "<path class=\"{class}\" d=\"M{}A{outer_text} {outer_text} 0 {large} 1 {}L{}A{inner_text} {inner_text} 0 {large} 0 {}Z\"><title>{}</title></path>",
        at(start, outer),
        at(end, outer),
        at(end, inner),
        at(start, inner),
        escape(tip)
    );
    let middle = f64::midpoint(start, end);
    let fits_across = (end - start) * inner >= LINE || end - start > 1.0;
    let fits_along = label.chars().count() as f64 * 6.6 + 12.0 <= outer - inner;
    if !(fits_across && fits_along) {
        return;
    }
    let degrees = middle.to_degrees();
    let (turn, anchor, x) = if degrees <= 180.0 {
        (degrees - 90.0, "start", inner + 7.0)
    } else {
        (degrees + 90.0, "end", -(inner + 7.0))
    };
    let _ = write!(
        drawing,
        "<text class=\"{class}\" transform=\"translate({CENTRE} {CENTRE}) rotate({})\" x=\"{}\" dy=\"4\" text-anchor=\"{anchor}\">{}</text>",
        coordinate(turn),
        coordinate(x),
        escape(label)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector(label: &str, rows: u64, parts: &[(&str, u64)]) -> Sector {
        let parts = parts.iter().map(|(label, rows)| ((*label).to_owned(), *rows)).collect();
        Sector { label: label.to_owned(), rows, parts }
    }

    #[test]
    fn arcs_have_sizes_tips_and_labels_where_they_fit() {
        let sectors = [
            sector("list", 75, &[("<drug>", 50)]),
            sector("explain", 24, &[]),
            sector("differentiate-between", 1, &[]),
        ];
        let drawing = sunburst(&sectors, 200, "verbs");
        assert_eq!(drawing.matches("<path").count(), 4);
        assert!(drawing.contains("<title>list &lt;drug&gt;: 50 rows, 25.0\u{a0}%</title>"));
        assert_eq!(drawing.matches("<text").count(), 3, "the last arc is too thin");
        // Three quarters of the circle are the larger arc.
        assert!(drawing.contains("0 1 1"));
    }

    #[test]
    fn nothing_and_one_sector_are_drawn() {
        assert!(!sunburst(&[], 0, "none").contains("NaN"));
        let one = sunburst(&[sector("list", 5, &[("drug", 5)])], 5, "one");
        assert!(!one.contains("NaN") && one.matches("<path").count() == 2);
    }
}
