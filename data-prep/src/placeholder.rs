//! Small files that lie in the place of another file.
//!
//! In: the first bytes of a file. Out: what it is instead, and what brings the real one.

use std::fmt;

/// The most bytes that [`Placeholder::of`] looks at.
pub const HEAD_BYTES: usize = 512;

/// A file that is not the one that its name promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// What git leaves where Git LFS is not installed, or `GIT_LFS_SKIP_SMUDGE` is set; Hugging Face's Xet uses it too.
    GitLfs,
    /// A page that says something to a person, saved by a download that went wrong.
    WebPage,
}

impl Placeholder {
    /// What the file with these first bytes stands for; `None`: it is itself.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let head = &bytes[..bytes.len().min(HEAD_BYTES)];
        if is_git_lfs(head) {
            return Some(Self::GitLfs);
        }
        let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
        (is_html(&text) || text.starts_with("found. redirecting to http")).then_some(Self::WebPage)
    }

    /// What brings the real file.
    pub fn hint(self) -> &'static str {
        match self {
            Self::GitLfs => "install Git LFS and run `git lfs pull` in its folder, or download the file again",
            Self::WebPage => "download the file itself (`curl -L`, or `hf download`)",
        }
    }
}

/// Whether a file that begins so is a pointer of Git LFS. Before its version 1.0 Git LFS was called hawser.
pub(crate) fn is_git_lfs(head: &[u8]) -> bool {
    let starts = [&b"version https://git-lfs.github.com/spec/"[..], b"version https://hawser.github.com/spec/"];
    starts.iter().any(|start| head.starts_with(start))
}

/// Whether lower-case text that begins so is a web page.
pub(crate) fn is_html(text: &str) -> bool {
    text.starts_with("<!doctype html") || text.starts_with("<html")
}

impl fmt::Display for Placeholder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::GitLfs => "a Git LFS pointer, not the file itself",
            Self::WebPage => "a web page, not the file itself",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pointer is the one of Git LFS's specification, version 1.
    #[test]
    fn pointers_and_pages_are_told_from_files() {
        let pointer = "version https://git-lfs.github.com/spec/v1\n\
            oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
        for (text, expected) in [
            (pointer, Some(Placeholder::GitLfs)),
            ("version https://hawser.github.com/spec/v1\noid sha256:1\nsize 1\n", Some(Placeholder::GitLfs)),
            ("<!DOCTYPE html>\n<html>", Some(Placeholder::WebPage)),
            ("\u{feff}\n  <HTML lang=en>", Some(Placeholder::WebPage)),
            ("Found. Redirecting to https://cdn-lfs.huggingface.co/a", Some(Placeholder::WebPage)),
            ("version https is a phrase", None),
            ("{\"model_type\": \"bert\"}", None),
            ("[PAD]\n[UNK]\n", None),
            ("", None),
        ] {
            assert_eq!(Placeholder::of(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(Placeholder::of(&[0xff; 4096]), None);
    }
}
