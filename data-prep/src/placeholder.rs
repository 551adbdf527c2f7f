//! Small files that lie in the place of another file.
//!
//! In: the first bytes of a file. Out: what it is instead, and what brings the real one.

use std::fmt;

/// More than this many bytes never matter here.
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
        // The second line is how the files of the time before version 1.0 begin.
        if [&b"version https://git-lfs.github.com/spec/"[..], b"version https://hawser.github.com/spec/"]
            .iter()
            .any(|start| head.starts_with(start))
        {
            return Some(Self::GitLfs);
        }
        let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
        let is_page =
            ["<!doctype html", "<html", "found. redirecting to http"].iter().any(|start| text.starts_with(start));
        is_page.then_some(Self::WebPage)
    }

    /// What brings the real file.
    pub fn hint(self) -> &'static str {
        match self {
            Self::GitLfs => "install Git LFS and run `git lfs pull` in its folder, or download the file again",
            Self::WebPage => "download the file itself (`curl -L`, or `hf download`)",
        }
    }
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
