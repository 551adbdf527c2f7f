//! Text in, pieces out that tokenise apart from one another: runs between ASCII whitespace, each ASCII punctuation mark on
//! its own.
//!
//! BERT's normaliser works character by character (an accent belongs to the character before it, and neither whitespace nor
//! ASCII punctuation composes with one), and its pre-tokeniser splits at whitespace and around every punctuation mark. So the
//! tokens of a text are those of its pieces, one after the other, and a piece that was seen before needs no work. Cost: one
//! table lookup a byte.

/// What a byte does to the piece it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    Space,
    Mark,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Part; 256];
    let mut byte = 0;
    while byte < 128 {
        // The four that Google's BERT calls whitespace; others stay inside their piece.
        if matches!(byte as u8, b' ' | b'\t' | b'\n' | b'\r') {
            kinds[byte] = Kind::Space;
        } else if (byte as u8).is_ascii_punctuation() {
            kinds[byte] = Kind::Mark;
        }
        byte += 1;
    }
    kinds
};

/// The pieces of `text`, in order; none is empty.
pub(super) fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let kind = |at: usize| KINDS[usize::from(bytes[at])];
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && kind(at) == Kind::Space {
            at += 1;
        }
        if at == bytes.len() {
            return None;
        }
        let start = at;
        at += 1;
        if kind(start) == Kind::Part {
            while at < bytes.len() && kind(at) == Kind::Part {
                at += 1;
            }
        }
        // Cuts lie beside ASCII bytes only, so they are character boundaries.
        Some(&text[start..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_separates_and_marks_stand_alone() {
        let found: Vec<&str> = pieces("  don't\tstop—\r\nnaïve (x_1).\u{a0}y").collect();
        assert_eq!(found, ["don", "'", "t", "stop—", "naïve", "(", "x", "_", "1", ")", ".", "\u{a0}y"]);
        assert_eq!(pieces(" \n").count(), 0);
    }
}
