//! Lengths of time, as people and Slurm write them.

use std::time::Duration;

/// Units of time and their seconds.
pub(super) const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

/// What [`wall_time`] reads.
pub(super) const TIME_FORMS: &str =
    "expected `HH:MM:SS`, `D-HH:MM:SS`, or numbers with d, h, m or s such as `90s` and `1h30m`";

/// A length of time as Slurm writes it, `HH:MM:SS` or `D-HH:MM:SS`, or numbers with units, the largest first: `90s`, `30m`, `1h30m`,
/// `2d`.
///
/// # Errors
/// Anything else, and no time at all.
pub fn wall_time(text: &str) -> Result<Duration, String> {
    let number = |digits: &str| match digits.bytes().all(|digit| digit.is_ascii_digit()) {
        true => digits.parse::<u64>().ok(),
        false => None,
    };
    let seconds = || -> Option<u64> {
        if let Some((days, rest)) = text.split_once('-').or_else(|| text.contains(':').then_some(("0", text))) {
            let parts: Vec<u64> = rest.split(':').map(number).collect::<Option<_>>()?;
            let &[hours, minutes, seconds] = parts.as_slice() else { return None };
            let hours = number(days)?.checked_mul(24)?.checked_add(hours)?;
            return hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(60)?.checked_add(seconds);
        }
        let (mut sum, mut rest, mut smallest) = (0_u64, text, u64::MAX);
        while !rest.is_empty() {
            let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
            let unit = rest[end..].chars().next()?;
            let seconds = UNITS.into_iter().find(|of| of.0 == unit).map(|of| of.1).filter(|&of| of < smallest)?;
            sum = sum.checked_add(number(&rest[..end])?.checked_mul(seconds)?)?;
            (rest, smallest) = (&rest[end + 1..], seconds);
        }
        Some(sum)
    };
    match seconds() {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{TIME_FORMS}, above 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_slurm_and_people_write_them() {
        for (text, seconds) in [
            ("04:00:00", 14_400),
            ("1-00:00:01", 86_401),
            ("90s", 90),
            ("30m", 1800),
            ("4h", 14_400),
            ("2d", 172_800),
            ("00:00:01", 1),
            ("1h30m", 5400),
            ("1d2h3m4s", 93_784),
        ] {
            assert_eq!(wall_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "4",
            "h",
            "-1h",
            "+1h",
            "1.5h",
            "4:00",
            "0s",
            "1-",
            "1-2:3",
            "a:b:c",
            "4é",
            "99999999999999999999d",
            "30m1h",
            "1h1h",
            "1h30",
            "1h 30m",
            "0h0m",
        ] {
            assert!(wall_time(text).is_err(), "{text}");
        }
    }
}
