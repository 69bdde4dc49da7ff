//! One horizontal bar in a table cell: funnels, counts of reasons, shares.

use super::coordinate;

/// A bar of this share of the full width. Without `reference` the full width is the whole and is drawn as a track; with it,
/// an upright mark stands at that share, such as the paper's, and the width has no meaning of its own.
///
/// The number stands in a cell beside it, so the drawing is hidden from screen readers.
pub(in super::super) fn bar(share: f64, reference: Option<f64>, class: &str) -> String {
    let percent = |share: f64| {
        let share = if share.is_nan() { 0.0 } else { share };
        coordinate((100.0 * share).clamp(0.0, 100.0))
    };
    let mark = reference.map_or_else(String::new, |reference| {
        let at = percent(reference);
        format!("<line class=\"reference\" x1=\"{at}%\" x2=\"{at}%\" y1=\"0\" y2=\"18\"/>")
    });
    let track = match reference {
        None => "<rect class=\"track\" y=\"4\" width=\"100%\" height=\"10\"/>",
        Some(_) => "",
    };
    format!(
        "<svg class=\"bar\" width=\"100%\" height=\"18\" aria-hidden=\"true\" focusable=\"false\">\
         {track}\
         <rect class=\"fill {class}\" y=\"4\" width=\"{}%\" height=\"10\"/>{mark}</svg>",
        percent(share)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_inside_the_cell() {
        let drawing = bar(1.7, Some(0.338), "base");
        assert!(drawing.contains("width=\"100%\" height=\"10\"/><line"));
        assert!(drawing.contains("x1=\"33.8%\""));
        assert!(!bar(f64::NAN, None, "base").contains("NaN"));
    }
}
