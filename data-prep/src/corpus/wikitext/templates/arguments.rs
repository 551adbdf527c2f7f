//! What stands between the bars of a template.

/// The arguments of a template, blanks around them aside.
pub(super) struct Arguments<'a> {
    pub(super) positional: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
    /// How many of the positional ones came without their number.
    num_counted: usize,
}

impl<'a> Arguments<'a> {
    /// Splits at the bars outside of links. `3=…` is the third positional argument, and the last one of a number counts.
    pub(super) fn new(text: Option<&'a str>) -> Arguments<'a> {
        let mut arguments = Arguments { positional: Vec::new(), named: Vec::new(), num_counted: 0 };
        let mut left = text;
        while let Some(rest) = left {
            let (first, others) = split_first(rest);
            arguments.push(first);
            left = others;
        }
        arguments
    }

    fn push(&mut self, argument: &'a str) {
        let is_before_link = |&equals: &usize| !argument[..equals].contains('[');
        let Some(equals) = argument.find('=').filter(is_before_link) else {
            self.num_counted += 1;
            return self.put(self.num_counted, argument.trim());
        };
        const MAX_NUMBER: usize = 32;
        let (name, value) = (argument[..equals].trim(), argument[equals + 1..].trim());
        match name.parse::<usize>() {
            Ok(number @ 1..=MAX_NUMBER) => self.put(number, value),
            _ => self.named.push((name, value)),
        }
    }

    fn put(&mut self, number: usize, value: &'a str) {
        if self.positional.len() < number {
            self.positional.resize(number, "");
        }
        self.positional[number - 1] = value;
    }

    /// Positional argument `number`, from 1, unless it is missing or empty.
    pub(super) fn get(&self, number: usize) -> Option<&'a str> {
        self.positional.get(number - 1).copied().filter(|argument| !argument.is_empty())
    }

    pub(super) fn last(&self) -> Option<&'a str> {
        self.positional.iter().rev().copied().find(|argument| !argument.is_empty())
    }

    pub(super) fn all(&self) -> Vec<&'a str> {
        self.positional.iter().copied().filter(|argument| !argument.is_empty()).collect()
    }

    /// The argument of this name, unless it is missing or empty.
    pub(super) fn named(&self, name: &str) -> Option<&'a str> {
        let argument = self.named.iter().rev().find(|(given, _)| given.eq_ignore_ascii_case(name));
        argument.map(|&(_, value)| value).filter(|value| !value.is_empty())
    }

    /// The argument of this name or number, unless it is missing or empty.
    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        match key.parse::<usize>() {
            Ok(number) if number > 0 => self.get(number),
            _ => self.named(key),
        }
    }
}

/// What stands before the first bar outside of links, blanks aside, and what stands behind it.
pub(super) fn split_first(text: &str) -> (&str, Option<&str>) {
    let mut num_open = 0_usize;
    let bar = text.bytes().position(|byte| {
        match byte {
            b'[' => num_open += 1,
            b']' => num_open = num_open.saturating_sub(1),
            _ => {}
        }
        byte == b'|' && num_open == 0
    });
    match bar {
        Some(at) => (text[..at].trim(), Some(&text[at + 1..])),
        None => (text.trim(), None),
    }
}
