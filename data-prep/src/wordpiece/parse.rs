//! `tokenizer.json` from anywhere.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use tokenizers::Tokenizer;

use crate::placeholder::Placeholder;

/// Held while the hook for panics is another.
static HOOK: Mutex<()> = Mutex::new(());

/// The tokenizer of a `tokenizer.json`. The crate's parser panics at some contents, a decoder of another type for one (seen in
/// 0.23.2, by fuzzing): here that is an error like the others.
///
/// # Errors
/// Why it is no tokenizer.
pub fn tokenizer_from_bytes(bytes: &[u8]) -> Result<Tokenizer, String> {
    if let Some(found) = Placeholder::of(bytes) {
        return Err(format!("it is {found}; {}", found.hint()));
    }
    let alone = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    // A panic that is caught has nothing to say on stderr.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    let parsed = panic::catch_unwind(AssertUnwindSafe(|| Tokenizer::from_bytes(bytes)));
    panic::set_hook(hook);
    drop(alone);
    match parsed {
        Ok(Ok(tokenizer)) => Ok(tokenizer),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(words.unwrap_or("its parser gave up").to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_the_parser_panic_is_an_error() {
        let vocabulary = r###""model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
            "max_input_chars_per_word":100,"vocab":{"[UNK]":0}}"###;
        let whole =
            |decoder: &str| format!(r#"{{"version":"1.0","added_tokens":[],"decoder":{decoder},{vocabulary}}}"#);
        assert!(tokenizer_from_bytes(whole("null").as_bytes()).is_ok());
        for wrong in ["5", "[]", r#"{"type":1}"#, r#"{"type":"WordPiece","prefix":5}"#] {
            assert!(tokenizer_from_bytes(whole(wrong).as_bytes()).is_err(), "{wrong}");
        }
        assert!(tokenizer_from_bytes(b"{").is_err());
        let message = tokenizer_from_bytes(b"version https://git-lfs.github.com/spec/v1\n").unwrap_err();
        assert!(message.starts_with("it is a Git LFS pointer") && message.contains("`git lfs pull`"), "{message}");
    }
}
