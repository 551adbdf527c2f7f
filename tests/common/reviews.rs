//! A made-up task in the form of SST-2: reviews are good if they name gold or silver.

use std::fs;
use std::path::Path;

/// Writes `count` of them to `path`, from number `first` on.
pub fn write_reviews(path: &Path, first: usize, count: usize, labelled: bool) {
    let mut text = String::from(if labelled { "sentence\tlabel\n" } else { "index\tsentence\n" });
    for index in 0..count {
        let at = first + index;
        let object = ["the red boat", "seven coins", "a letter", "the clock"][at % 4];
        let verb = ["carried", "painted", "sold"][at % 3];
        let sentence = format!("the miller {verb} {object}");
        let is_good = at % 4 < 2;
        text.push_str(&match labelled {
            true => format!("{sentence}\t{}\n", u8::from(is_good)),
            false => format!("{index}\t{sentence}\n"),
        });
    }
    fs::write(path, text).unwrap();
}
