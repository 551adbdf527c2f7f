//! Scores of tags, with those of entities as Python's seqeval gives them by default (which follows conlleval of the CoNLL shared tasks).
//!
//! A tag is `O`, or a letter and the type of an entity: `B-PER` begins one, `I-PER` continues it, `E-` ends one and `S-` is one alone. An
//! entity that begins without `B` counts too.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};

/// An entity: its type, and its first and last word.
type Entity<'a> = (&'a str, usize, usize);

/// The entities of a sentence.
fn entities<'a>(tags: &[&'a str]) -> Vec<Entity<'a>> {
    let (mut found, mut begin) = (Vec::new(), 0);
    let mut before = ('O', "");
    for at in 0..=tags.len() {
        let now = tags.get(at).map_or(('O', "_"), |tag| parts(tag));
        if ends(before, now) {
            found.push((before.1, begin, at - 1));
        }
        if begins(before, now) {
            begin = at;
        }
        before = now;
    }
    found
}

/// The letter of a tag and the type behind it; `_`: none.
fn parts(tag: &str) -> (char, &str) {
    let letter = tag.chars().next().unwrap_or('O');
    let rest = &tag[letter.len_utf8().min(tag.len())..];
    let of = rest.split_once('-').map_or(rest, |(_, of)| of);
    (letter, if of.is_empty() { "_" } else { of })
}

fn ends((before, type_before): (char, &str), (now, type_now): (char, &str)) -> bool {
    matches!((before, now), ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O'))
        || !matches!(before, 'O' | '.') && type_before != type_now
}

fn begins((before, type_before): (char, &str), (now, type_now): (char, &str)) -> bool {
    matches!((before, now), (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I'))
        || !matches!(now, 'O' | '.') && type_before != type_now
}

/// Whether tags name entities: one of them begins or continues one.
pub fn are_of_entities(tags: &[String]) -> bool {
    tags.iter().any(|tag| ["B-", "I-"].iter().any(|prefix| tag.starts_with(prefix)))
}

/// `accuracy` of the words' tags, and of the entities `precision`, `recall` and their harmonic mean `f1`, 0 where there are none. An
/// entity is right if its type and both its ends are.
///
/// # Errors
/// No sentences, or predictions for other words than there are.
pub fn tag_scores(predicted: &[Vec<&str>], expected: &[Vec<&str>]) -> Result<BTreeMap<&'static str, f64>> {
    let sizes = |tags: &[Vec<&str>]| tags.iter().map(Vec::len).collect::<Vec<_>>();
    if sizes(predicted) != sizes(expected) || expected.iter().all(Vec::is_empty) {
        return Err(Error::data("expected a predicted tag for each word"));
    }
    let all = |sentences: &[Vec<&str>]| {
        let found = sentences.iter().enumerate();
        let named = found.flat_map(|(number, tags)| {
            entities(tags).into_iter().map(move |(of, first, last)| (of.to_owned(), number, first, last))
        });
        named.collect::<BTreeSet<_>>()
    };
    let (found, there) = (all(predicted), all(expected));
    let right = found.intersection(&there).count() as f64;
    let share = |of: usize| if of == 0 { 0.0 } else { right / of as f64 };
    let (precision, recall) = (share(found.len()), share(there.len()));
    let f1 = if right == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    let words = || predicted.iter().flatten().zip(expected.iter().flatten());
    let accuracy = words().filter(|(one, other)| one == other).count() as f64 / words().count() as f64;
    Ok(BTreeMap::from([("accuracy", accuracy), ("precision", precision), ("recall", recall), ("f1", f1)]))
}
