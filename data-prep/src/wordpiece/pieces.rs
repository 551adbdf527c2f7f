//! Text in, pieces out that tokenise apart from one another: runs between ASCII whitespace; each ASCII punctuation mark, each
//! ideograph and each of the frequent marks beyond ASCII on its own.
//!
//! BERT's normaliser works character by character (an accent belongs to the character before it, and none of the above
//! composes with one), puts spaces around ideographs, and its pre-tokeniser splits at whitespace and around every
//! punctuation mark. So the tokens of a text are those of its pieces, one after the other, and a piece that was seen before
//! needs no work. Without a cut at ideographs the pieces of Chinese would be sentences, which nobody has seen before.
//! Cost: one table lookup a byte.

/// What a byte does to the piece it is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Part,
    Space,
    Mark,
    /// Starts a character that may stand alone.
    Lead,
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
    // U+2000 and above
    while byte < 256 {
        if byte >= 0xe2 {
            kinds[byte] = Kind::Lead;
        }
        byte += 1;
    }
    kinds
};

/// Whether a character beyond ASCII is a piece of its own: punctuation in general use in East Asia and Europe, and ideographs,
/// of which those that every version of Unicode since 6.1 has.
fn stands_alone(character: char, ideographs: bool) -> bool {
    match character {
        '\u{2010}'..='\u{2027}' | '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301f}' => true,
        '\u{ff01}'..='\u{ff03}' | '\u{ff05}'..='\u{ff0a}' | '\u{ff0c}'..='\u{ff0f}' | '\u{ff1a}' | '\u{ff1b}' => true,
        '\u{ff1f}'
        | '\u{ff20}'
        | '\u{ff3b}'..='\u{ff3d}'
        | '\u{ff3f}'
        | '\u{ff5b}'
        | '\u{ff5d}'
        | '\u{ff5f}'..='\u{ff65}' => true,
        '\u{3400}'..='\u{4db5}' | '\u{4e00}'..='\u{9fcc}' | '\u{20000}'..='\u{2a6d6}' => ideographs,
        _ => false,
    }
}

/// The pieces of `text`, in order; none is empty. `ideographs` are cut where the normaliser sets them apart.
pub(super) fn pieces(text: &str, ideographs: bool) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let kind = |at: usize| KINDS[usize::from(bytes[at])];
    // The bytes of the character that starts at `at`, if it stands alone. (Every cut is at a character boundary.)
    let alone = move |at: usize| {
        let character = text[at..].chars().next()?;
        stands_alone(character, ideographs).then(|| character.len_utf8())
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && kind(at) == Kind::Space {
            at += 1;
        }
        if at == bytes.len() {
            return None;
        }
        let start = at;
        at += match kind(start) {
            Kind::Mark => 1,
            Kind::Lead => alone(start).unwrap_or(0),
            _ => 0,
        };
        if at == start {
            at += 1;
            while at < bytes.len() && (kind(at) == Kind::Part || kind(at) == Kind::Lead && alone(at).is_none()) {
                at += 1;
            }
        }
        Some(&text[start..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whitespace_separates_and_marks_stand_alone() {
        let found: Vec<&str> = pieces("  don't\tstop—\r\nnaïve (x_1).\u{a0}y", true).collect();
        assert_eq!(found, ["don", "'", "t", "stop", "—", "naïve", "(", "x", "_", "1", ")", ".", "\u{a0}y"]);
        assert_eq!(pieces(" \n", true).count(), 0);
    }

    #[test]
    fn ideographs_and_their_punctuation_stand_alone() {
        let found = |ideographs| pieces("「中文かな」，a𠀀b ガ", ideographs).collect::<Vec<_>>();
        assert_eq!(found(true), ["「", "中", "文", "かな", "」", "，", "a", "𠀀", "b", "ガ"]);
        assert_eq!(found(false), ["「", "中文かな", "」", "，", "a𠀀b", "ガ"]);
    }
}
