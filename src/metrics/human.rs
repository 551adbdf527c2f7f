//! Numbers for people: three digits, a unit, and nothing that has to be counted with a finger.

const COUNTS: [&str; 8] = ["", " k", " M", " G", " T", " P", " E", " Z"];
const BYTES: [&str; 8] = [" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB", " ZiB"];

/// `1.23 M` for 1,234,567.
pub fn human_count(count: u128) -> String {
    scaled(count, 1000.0, COUNTS)
}

/// `1.18 MiB` for 1,234,567.
pub fn human_bytes(bytes: u128) -> String {
    scaled(bytes, 1024.0, BYTES)
}

fn scaled(number: u128, base: f64, units: [&str; 8]) -> String {
    if (number as f64) < base {
        return format!("{number}{}", units[0]);
    }
    let mut value = number as f64;
    let mut unit = 0;
    // What would round to the next unit is written in it.
    while value >= base - 0.5 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = match value {
        _ if value < 9.995 => 2,
        _ if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", units[unit])
}

/// `12,345`.
pub fn human_integer(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `45s`, `2m 10s`, `1h 02m`, `3d 04h`; `?` for what is no duration.
pub fn human_duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".into();
    }
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    if minutes == 0 {
        format!("{whole}s")
    } else if hours == 0 {
        format!("{minutes}m {:02}s", whole % 60)
    } else if days == 0 {
        format!("{hours}h {:02}m", minutes % 60)
    } else {
        format!("{days}d {:02}h", hours % 24)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits() {
        for (count, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.00 k"),
            (12_345, "12.3 k"),
            (999_499, "999 k"),
            (999_500, "1.00 M"),
            (9_996_000, "10.0 M"),
            (1_234_567, "1.23 M"),
            (109_514_298, "110 M"),
            (260_000_000_000_000_000_000, "260 E"),
        ] {
            assert_eq!(human_count(count), text);
        }
        assert!(human_count(u128::MAX).ends_with(" Z"));
    }

    #[test]
    fn bytes_have_binary_units() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1_234_567, "1.18 MiB"), (80 << 30, "80.0 GiB")]
        {
            assert_eq!(human_bytes(bytes), text);
        }
    }

    #[test]
    fn integers_have_groups_of_three() {
        for (number, text) in [(0, "0"), (123, "123"), (1234, "1,234"), (1_234_567, "1,234,567")] {
            assert_eq!(human_integer(number), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.2, "0s"),
            (59.4, "59s"),
            (59.6, "1m 00s"),
            (130.0, "2m 10s"),
            (3725.0, "1h 02m"),
            (273_900.0, "3d 04h"),
            (f64::INFINITY, "?"),
            (-1.0, "?"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
