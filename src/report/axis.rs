//! An axis: which numbers it spans, where a number lies on it, and which ticks it has.

use super::chart::Scale;

/// What one can add and subtract without leaving the finite numbers.
const HUGE: f64 = 1e300;
/// What one can divide by.
const TINY: f64 = 1e-300;

/// The span of an axis; `low` and `high` are decimal logarithms on a logarithmic one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Axis {
    /// Spans all the values that have a place on the scale, and `margin` of that span on either side. A linear axis that
    /// begins shortly above zero begins there.
    pub(super) fn around(values: impl Iterator<Item = f64>, scale: Scale, margin: f64) -> Option<Self> {
        let mut span: Option<(f64, f64)> = None;
        for value in values.filter_map(|value| place(value, scale)) {
            let (low, high) = span.unwrap_or((value, value));
            span = Some((low.min(value), high.max(value)));
        }
        let (low, high) = span?;
        let near_zero = scale == Scale::Linear && low > 0.0 && low < 0.1 * high;
        let low = if near_zero { 0.0 } else { low };
        let size = low.abs().max(high.abs());
        // Equal values, or nearly: a span around them that ticks can tell apart.
        let pad = if high - low > (1e-9 * size).max(TINY) {
            margin * (high - low)
        } else if size > TINY {
            0.1 * size
        } else {
            1.0
        };
        Some(Self { low: low - pad, high: high + pad, scale })
    }

    /// Exactly from `low` to `high`, linear; `None` if that is no span.
    pub(super) fn exact(low: f64, high: f64) -> Option<Self> {
        let fine = low.abs() < HUGE && high.abs() < HUGE && high - low > 0.0;
        fine.then_some(Self { low, high, scale: Scale::Linear })
    }

    /// Where a value lies, 0 at the low end and 1 at the high end; `None` if it has no place.
    pub(super) fn at(&self, value: f64) -> Option<f64> {
        place(value, self.scale).map(|place| (place - self.low) / (self.high - self.low))
    }

    /// About `most` ticks: where they lie, from 0 to 1, and their labels.
    pub(super) fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let most = most.max(2);
        let labelled = match self.scale {
            Scale::Linear => linear_ticks(self.low, self.high, most),
            Scale::Log if self.high - self.low < 1.0 => {
                linear_ticks(10_f64.powf(self.low), 10_f64.powf(self.high), most)
            }
            Scale::Log => decades(self.low, self.high, most),
        };
        let placed = labelled.into_iter().filter_map(|(value, label)| Some((self.at(value)?, label)));
        placed.filter(|(at, _)| (-1e-6..=1.0 + 1e-6).contains(at)).collect()
    }
}

fn place(value: f64, scale: Scale) -> Option<f64> {
    match scale {
        Scale::Linear => Some(value).filter(|value| value.abs() < HUGE),
        Scale::Log => (TINY..HUGE).contains(&value).then(|| value.log10()),
    }
}

/// Multiples of 1, 2 or 5 times a power of ten.
fn linear_ticks(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / most as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0]
        .iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough * (1.0 - 1e-9))
        .unwrap_or(10.0 * power);
    let first = (low / step - 1e-6).ceil();
    let (unit, suffix) = unit_of(low.abs().max(high.abs()));
    let decimals = decimals_of(step / unit);
    let values = (0..=most).map(|index| (first + index as f64) * step).filter(|value| *value <= high + 1e-6 * step);
    values.map(|value| (value, number(value / unit, decimals, suffix))).collect()
}

/// Powers of ten; 2 and 5 times them as well where there is room, every second or third one only where there is not.
fn decades(low: f64, high: f64, most: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.floor() as i32, high.floor() as i32);
    let stride = ((last - first) as usize / most + 1) as i32;
    let factors: &[f64] = if 3.0 * (high - low) <= most as f64 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let powers = (first..=last).filter(|power| power.rem_euclid(stride) == 0);
    let label = |factor: f64, power: i32| {
        let value = factor * 10_f64.powi(power);
        let (unit, suffix) = unit_of(value);
        let decimals = decimals_of(10_f64.powi(power) / unit);
        (value, number(value / unit, decimals, suffix))
    };
    powers.flat_map(|power| factors.iter().map(move |factor| label(*factor, power))).collect()
}

/// The unit for numbers up to `size`: from ten thousand on `10k` is read faster than `10000`.
fn unit_of(size: f64) -> (f64, &'static str) {
    match size {
        _ if (1e4..1e6).contains(&size) => (1e3, "k"),
        _ if (1e6..1e9).contains(&size) => (1e6, "M"),
        _ if (1e9..1e12).contains(&size) => (1e9, "G"),
        _ if (1e12..1e15).contains(&size) => (1e12, "T"),
        _ if (1e15..1e18).contains(&size) => (1e15, "P"),
        _ if (1e18..1e21).contains(&size) => (1e18, "E"),
        _ => (1.0, ""),
    }
}

/// Decimals that tell numbers apart that lie `step` apart; `None` if only an exponent can.
fn decimals_of(step: f64) -> Option<usize> {
    // A step computed as 0.1 may be a rounding error below it.
    let power = (step * (1.0 + 1e-9)).log10().floor();
    (-4.0..12.0).contains(&power).then(|| (-power).max(0.0) as usize)
}

fn number(value: f64, decimals: Option<usize>, suffix: &str) -> String {
    match decimals {
        _ if value == 0.0 => "0".into(),
        Some(decimals) => format!("{value:.decimals$}{suffix}").replace('-', "−"),
        None => format!("{value:.1e}{suffix}").replace(".0e", "e").replace('-', "−"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], scale: Scale, most: usize) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), scale, 0.0).unwrap();
        let ticks = axis.ticks(most);
        assert!(ticks.iter().all(|(at, _)| (-1e-6..=1.0 + 1e-6).contains(at)), "{ticks:?}");
        assert!(ticks.len() <= most + 1, "{ticks:?}");
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_short() {
        assert_eq!(labels(&[0.0, 10.0], Scale::Linear, 5), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(&[0.0, 25_000.0], Scale::Linear, 6), ["0", "5k", "10k", "15k", "20k", "25k"]);
        assert_eq!(labels(&[-0.1, 0.2], Scale::Linear, 3), ["−0.1", "0", "0.1", "0.2"]);
        assert_eq!(labels(&[0.0, 1.5e6], Scale::Linear, 3), ["0", "0.5M", "1.0M", "1.5M"]);
        assert_eq!(labels(&[0.0, 3e12], Scale::Linear, 3), ["0", "1T", "2T", "3T"]);
        assert_eq!(labels(&[0.0, 2e19], Scale::Linear, 2), ["0", "10E", "20E"]);
        assert_eq!(labels(&[1e-6, 3e-6], Scale::Linear, 2), ["1e−6", "2e−6", "3e−6"]);
        assert_eq!(labels(&[0.01, 20_000.0], Scale::Log, 8), ["0.01", "0.1", "1", "10", "100", "1000", "10k"]);
        assert_eq!(labels(&[1.0, 50.0], Scale::Log, 8), ["1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(&[1e-12, 1.0], Scale::Log, 4), ["1e−12", "1e−8", "0.0001", "1"]);
        assert_eq!(labels(&[2.0, 4.0], Scale::Log, 4), ["2.0", "2.5", "3.0", "3.5", "4.0"]);
    }

    #[test]
    fn places_are_fractions_of_the_span() {
        let axis = Axis::around([10.0, 1000.0].into_iter(), Scale::Log, 0.0).unwrap();
        assert!((axis.at(100.0).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!((axis.at(0.0), axis.at(-1.0), axis.at(f64::NAN)), (None, None, None));
        let padded = Axis::around([0.0, 10.0].into_iter(), Scale::Linear, 0.1).unwrap();
        assert_eq!((padded.low, padded.high), (-1.0, 11.0));
        let low = |low: f64| Axis::around([low, 100.0].into_iter(), Scale::Linear, 0.0).unwrap().low;
        assert_eq!((low(9.0), low(11.0), low(-4.0)), (0.0, 11.0, -4.0));
    }

    #[test]
    fn any_numbers_give_a_span_or_none() {
        let around = |values: &[f64], scale| Axis::around(values.iter().copied(), scale, 0.05);
        assert_eq!(around(&[], Scale::Linear), None);
        assert_eq!(around(&[f64::NAN, f64::INFINITY], Scale::Linear), None);
        assert_eq!(around(&[0.0, -3.0, 1e-320], Scale::Log), None);
        assert!(!around(&[5e-324, 1e-323], Scale::Linear).unwrap().ticks(6).is_empty());
        for scale in [Scale::Linear, Scale::Log] {
            let cases: [&[f64]; 8] = [
                &[1.0],
                &[5.0, 5.0],
                &[0.0, 1.0],
                &[1e16, 1e16 + 2.0],
                &[f64::MAX, 1.0, f64::MIN],
                &[9e299, -9e299, 1.0],
                &[f64::MIN_POSITIVE, 1.0],
                &[5e-324, 1e-323, 1.0],
            ];
            for values in cases {
                let axis = around(values, scale).unwrap();
                assert!(axis.high > axis.low && !axis.ticks(6).is_empty(), "{values:?} {axis:?}");
            }
        }
    }
}
