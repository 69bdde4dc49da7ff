//! Numbers as people read them: true minus signs, grouped digits, few decimals.

/// `25005` as `25,005`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// With so many decimals and a true minus sign; what rounds to zero has no sign.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|byte| matches!(byte, b'0' | b'.')) => rest.to_owned(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// As [`fixed`], with a plus sign before positive values.
pub(super) fn signed(value: f64, decimals: usize) -> String {
    let text = fixed(value, decimals);
    let positive = value > 0.0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    if positive { format!("+{text}") } else { text }
}

/// Four significant digits, in scientific form when very small or large: learning rates, norms.
pub(super) fn compact(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        return format!("{mantissa}e{exponent}").replace('-', "−");
    }
    let decimals = match size {
        s if s >= 1000.0 || s.fract() == 0.0 => 0,
        s if s >= 100.0 => 1,
        s if s >= 10.0 => 2,
        s if s >= 1.0 => 3,
        _ => 4,
    };
    fixed(value, decimals)
}

/// Part of a whole in percent, one decimal; `–` of nothing.
pub(super) fn percent(part: f64, whole: f64) -> String {
    if whole > 0.0 {
        format!("{}\u{a0}%", fixed(100.0 * part / whole, 1))
    } else {
        "–".to_owned()
    }
}

/// Binary units.
pub(super) fn bytes(value: f64) -> String {
    const GIB: f64 = 1_073_741_824.0;
    const MIB: f64 = 1_048_576.0;
    if value >= GIB {
        format!("{} GiB", fixed(value / GIB, 2))
    } else {
        format!("{} MiB", fixed(value / MIB, 0))
    }
}

/// Seconds, minutes or hours.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{} s", fixed(seconds, 1)),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A p-value: never zero.
pub(super) fn probability(value: f64) -> String {
    if value < 0.001 {
        "p < 0.001".to_owned()
    } else {
        format!("p = {}", fixed(value, if value < 0.1 { 3 } else { 2 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_signs_and_units() {
        assert_eq!(count(25_005), "25,005");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(fixed(-0.04, 1), "0.0");
        assert_eq!(fixed(-2.55, 1), "−2.5");
        assert_eq!((signed(2.5, 1), signed(0.01, 1)), ("+2.5".into(), "0.0".into()));
        assert_eq!(compact(2e-4), "2e−4");
        assert_eq!(compact(1.5), "1.500");
        assert_eq!(compact(0.0), "0");
        assert_eq!(percent(1.0, 0.0), "–");
        assert_eq!(duration(3725.0), "1 h 2 min");
        assert_eq!(duration(12.34), "12.3 s");
        assert_eq!(bytes(2.0 * 1_073_741_824.0), "2.00 GiB");
        assert_eq!(probability(0.0), "p < 0.001");
    }
}
