//! Text in, sentences out, for pairs of segments.
//!
//! `sentencex` (Wikimedia's segmenter, rules for many languages) finds the ends within a paragraph; a paragraph always ends a
//! sentence. Hard-wrapped text is unwrapped first. Cost: about 50 MB of text a second and thread.

/// The sentences of `text`, one paragraph a line, in `language` (`en`); none is empty or has spaces around it.
pub fn sentences<'a>(text: &'a str, language: &'a str) -> impl Iterator<Item = String> + 'a {
    paragraphs(text).into_iter().flat_map(move |paragraph| split(&paragraph, language))
}

/// Lines longer than this are not wrapped.
const WRAP_CHARACTERS: usize = 90;
/// The share of lines that may be longer all the same.
const LONG_LINES: f64 = 0.02;

/// Paragraphs: lines, or where the text is hard-wrapped (blank lines between paragraphs, and hardly a line longer than a
/// page is wide) the blocks between blank lines.
fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.split('\n').map(str::trim).collect();
    let filled = lines.iter().filter(|line| !line.is_empty()).count();
    let long = lines.iter().filter(|line| line.chars().nth(WRAP_CHARACTERS).is_some()).count();
    let is_wrapped = filled < lines.len() && (long as f64) <= LONG_LINES * filled as f64;
    if !is_wrapped {
        return lines.into_iter().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    }
    let blocks = lines.split(|line| line.is_empty()).filter(|block| !block.is_empty());
    blocks.map(|block| block.join(" ")).collect()
}

fn split(paragraph: &str, language: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut carried = "";
    for sentence in sentencex::segment(language, paragraph) {
        // The crate leaves a quotation mark that opens the next sentence at the end of this one.
        let closed = sentence.trim_end().trim_end_matches(OPENING).trim_end();
        let opening = sentence[closed.len()..].trim();
        if closed.trim().is_empty() {
            continue;
        }
        found.push(format!("{carried}{}", closed.trim_start()));
        carried = opening;
    }
    match found.last_mut() {
        Some(last) if !carried.is_empty() => last.push_str(carried),
        _ => {}
    }
    found
}

/// Marks that open, and never close.
const OPENING: [char; 6] = ['“', '‘', '«', '(', '[', '„'];

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<String> {
        sentences(text, "en").collect()
    }

    #[test]
    fn abbreviations_end_no_sentence_and_quotations_stay_whole() {
        assert_eq!(
            all("Mr. Smith paid $3.50 to Dr. Jones. “I know,” said J. R. Ames. “So do I!” Why?"),
            ["Mr. Smith paid $3.50 to Dr. Jones.", "“I know,” said J. R. Ames.", "“So do I!”", "Why?"]
        );
    }

    #[test]
    fn every_line_ends_a_sentence_unless_the_text_is_wrapped() {
        assert_eq!(all("A heading\nOne. Two.\n\n \nThree"), ["A heading One.", "Two.", "Three"]);
        assert_eq!(all("A heading\nOne. Two."), ["A heading", "One.", "Two."]);
        let line = "word ".repeat(30);
        assert_eq!(all(&format!("{line}\n\n{line}\nThree.")).len(), 3);
    }

    #[test]
    fn nothing_is_lost() {
        let text = "(“He said: ‘No.’ ” (See p. 4.) And left… [Ed. note: gone] ‘";
        let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert_eq!(letters(&all(text).concat()), letters(text));
    }
}
