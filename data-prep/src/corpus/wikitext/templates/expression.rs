//! `{{#expr:…}}`: a formula in, its value out. Operators and their order are those of MediaWiki's ParserFunctions.
//!
//! Cost: linear; brackets nest at most [`MAX_DEPTH`] deep.

const MAX_DEPTH: usize = 32;

/// Operators of two values, the loosest first; those of one row from left to right.
const LEVELS: [&[&str]; 7] = [
    &["or"],
    &["and"],
    &["!=", "<>", "<=", ">=", "=", "<", ">"],
    &["round"],
    &["+", "-", "−"],
    &["*", "/", "div", "mod", "fmod"],
    &["^"],
];
const FUNCTIONS: [&str; 12] =
    ["not", "ceil", "floor", "trunc", "abs", "sqrt", "exp", "ln", "sin", "cos", "tan", "atan"];

/// The value of the formula; nothing if it is none, or divides by zero.
pub(super) fn evaluate(formula: &str) -> Option<f64> {
    let mut parser = Parser { rest: formula.trim(), depth: 0 };
    let value = parser.level(0)?;
    (parser.rest.is_empty() && value.is_finite()).then_some(value)
}

/// A value as MediaWiki writes it: up to 14 significant digits, powers of ten only far from 1.
pub(super) fn shown(value: f64) -> String {
    const DIGITS: usize = 14;
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&exponent) {
        return format!("{value:E}");
    }
    let decimals = (DIGITS as i32 - 1 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl Parser<'_> {
    /// Takes one of the words or signs, if the rest starts with one.
    fn take(&mut self, words: &[&'static str]) -> Option<&'static str> {
        let found = *words.iter().find(|word| {
            let Some(start) = self.rest.get(..word.len()) else { return false };
            let is_word = word.as_bytes()[0].is_ascii_alphabetic();
            let behind = self.rest[word.len()..].chars().next();
            start.eq_ignore_ascii_case(word) && !(is_word && behind.is_some_and(char::is_alphabetic))
        })?;
        self.rest = self.rest[found.len()..].trim_start();
        Some(found)
    }

    fn level(&mut self, level: usize) -> Option<f64> {
        let Some(operators) = LEVELS.get(level) else { return self.single() };
        let mut value = self.level(level + 1)?;
        while let Some(operator) = self.take(operators) {
            let right = self.level(level + 1)?;
            value = apply(operator, value, right)?;
        }
        Some(value)
    }

    fn single(&mut self) -> Option<f64> {
        if let Some(sign) = self.take(&["-", "−", "+"]) {
            let value = self.nested(Parser::single)?;
            return Some(if sign == "+" { value } else { -value });
        }
        if let Some(function) = self.take(&FUNCTIONS) {
            let value = self.nested(Parser::single)?;
            return Some(match function {
                "not" => f64::from(u8::from(value == 0.0)),
                "ceil" => value.ceil(),
                "floor" => value.floor(),
                "trunc" => value.trunc(),
                "abs" => value.abs(),
                "sqrt" => value.sqrt(),
                "exp" => value.exp(),
                "ln" => value.ln(),
                "sin" => value.sin(),
                "cos" => value.cos(),
                "tan" => value.tan(),
                _ => value.atan(),
            });
        }
        if self.take(&["("]).is_some() {
            let value = self.nested(|parser| parser.level(0))?;
            self.take(&[")"])?;
            return Some(value);
        }
        if self.take(&["pi"]).is_some() {
            return Some(std::f64::consts::PI);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        let value = number.parse().ok()?;
        self.rest = rest.trim_start();
        if self.rest.starts_with(['e', 'E']) && self.take(&["e"]).is_some() {
            let exponent = self.nested(Parser::single)?;
            return Some(value * 10_f64.powf(exponent));
        }
        Some(value)
    }

    fn nested(&mut self, parse: impl FnOnce(&mut Self) -> Option<f64>) -> Option<f64> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }
}

fn apply(operator: &str, left: f64, right: f64) -> Option<f64> {
    let truth = |holds: bool| f64::from(u8::from(holds));
    Some(match operator {
        "or" => truth(left != 0.0 || right != 0.0),
        "and" => truth(left != 0.0 && right != 0.0),
        "=" => truth(left == right),
        "!=" | "<>" => truth(left != right),
        "<" => truth(left < right),
        ">" => truth(left > right),
        "<=" => truth(left <= right),
        ">=" => truth(left >= right),
        "round" => {
            let factor = 10_f64.powi(right as i32);
            (left * factor).round() / factor
        }
        "+" => left + right,
        "-" | "−" => left - right,
        "*" => left * right,
        "/" | "div" if right != 0.0 => left / right,
        "mod" if right.trunc() != 0.0 => left.trunc() % right.trunc(),
        "fmod" if right != 0.0 => left % right,
        "^" => left.powf(right),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Help:Calculation of MediaWiki.
    #[test]
    fn formulas_have_values() {
        for (formula, expected) in [
            ("1+2*3", "7"),
            ("(1+2)*3", "9"),
            ("2014 - 1956", "58"),
            ("10/4", "2.5"),
            ("7 mod 3", "1"),
            ("-2^2", "4"),
            ("9.876 round 2", "9.88"),
            ("1234 round -2", "1200"),
            ("1e3", "1000"),
            ("not 0", "1"),
            ("3 > 2 and 1 = 1", "1"),
            ("trunc 2.9", "2"),
            ("100000 * 1000000", "100000000000"),
            ("1/3", "0.33333333333333"),
        ] {
            assert_eq!(evaluate(formula).map(shown).as_deref(), Some(expected), "{formula}");
        }
        for none in ["", "1/0", "1+", "a", "1 2", "(1", &"(".repeat(1000)] {
            assert_eq!(evaluate(none), None, "{none}");
        }
    }
}
