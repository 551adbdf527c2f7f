//! The one error type of the trainer: what went wrong, whose fault it is (the exit code), and what to do about it.
//!
//! A message is lower case, without a full stop, with the thing in backticks, what was expected and what was found;
//! the hint is one sentence about what the user can change. Causes are kept as a chain.

use std::fmt;

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Who can mend an error; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The run failed: disk, device, library.
    Failed,
    /// The command line or the configuration is wrong.
    Config,
    /// Data or a checkpoint is invalid.
    Data,
}

/// One error with its hint and its cause.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    reason: Reason,
}

/// What a caller may do something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    OutOfMemory,
    NotFinite,
    Other,
}

impl Error {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None, reason: Reason::Other }
    }

    /// The run itself failed; exit code 1.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// The run itself computed infinity or NaN; exit code 1.
    pub fn not_finite(message: impl Into<String>) -> Self {
        Self { reason: Reason::NotFinite, ..Self::failed(message) }
    }

    /// Command line or configuration; exit code 2.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Data or checkpoint; exit code 3.
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }

    /// Adds what the user can do.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same, where there is something.
    pub fn hint_if_any(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Adds the error below this one.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether memory for a tensor could not be had.
    pub fn is_out_of_memory(&self) -> bool {
        self.reason == Reason::OutOfMemory
    }

    /// Whether something was computed that is not a finite number.
    pub fn is_not_finite(&self) -> bool {
        self.reason == Reason::NotFinite
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Config => 2,
            Kind::Data => 3,
        }
    }

    /// The message, its chain of causes, and the hint, as a person reads them on a terminal.
    pub fn report(&self) -> String {
        let mut text = format!("error: {self}");
        let mut hint = self.hint.as_deref();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(&format!(": {}", error.to_string().trim_end()));
            hint = hint.or_else(|| error.downcast_ref::<Self>().and_then(|inner| inner.hint.as_deref()));
            cause = error.source();
        }
        if let Some(hint) = hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        text
    }
}

/// Names as messages list them: each in backticks, with commas between.
pub fn quoted<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A message of libtorch: its first lines, without the C++ backtrace that no user can act on.
pub fn libtorch(text: &str) -> Error {
    let end = ["\nException raised from", "\nframe #"].iter().filter_map(|mark| text.find(mark)).min();
    let error = Error::failed(format!("libtorch: {}", text[..end.unwrap_or(text.len())].trim()));
    let memory =
        ["out of memory", "not enough memory", "can't allocate memory", "Cannot allocate memory", "std::bad_alloc"];
    if memory.iter().any(|words| text.contains(words)) {
        let error = error.hint(
            "lower `train.micro_batch` (the global batch stays the same) or let it be `auto`, set \
             `train.activation_checkpointing = true`, or make the model smaller; `--dry-run` says what a step needs",
        );
        return Error { reason: Reason::OutOfMemory, ..error };
    }
    error
}

impl From<tch::TchError> for Error {
    fn from(error: tch::TchError) -> Self {
        libtorch(&error.to_string())
    }
}

/// An I/O error on `path`: names the file, and says when the disk is full or may not be written. A file that is not
/// there counts as missing data, everything else as a failure of the machine.
pub fn io(action: &str, path: &std::path::Path, error: std::io::Error) -> Error {
    let message = format!("cannot {action} `{}`", path.display());
    let outer = match error.kind() {
        std::io::ErrorKind::NotFound => Error::data(message),
        std::io::ErrorKind::StorageFull => Error::failed(message)
            .hint("free some space on that disk and run again; a training run goes on with `--resume`"),
        std::io::ErrorKind::PermissionDenied => Error::failed(message).hint("check the permissions of the folder"),
        _ => Error::failed(message),
    };
    outer.caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both forms that libtorch 2.11 uses, copied from its output.
    #[test]
    fn messages_of_libtorch_lose_their_backtrace() {
        let memory =
            "[enforce fail at alloc_cpu.cpp:128] . DefaultCPUAllocator: not enough memory: you tried to allocate \
                      1099511627776 bytes.\nframe #0: c10::ThrowEnforceNotMet";
        let report = libtorch(memory).report();
        assert!(report.contains("not enough memory") && report.contains("hint: lower `train.micro_batch`"), "{report}");
        assert!(!report.contains("frame #"), "{report}");
        assert!(report.contains("`train.activation_checkpointing = true`"), "{report}");
        let cuda = "CUDA out of memory. Tried to allocate 2.00 GiB.";
        assert!(libtorch(cuda).is_out_of_memory() && libtorch(memory).is_out_of_memory());
        let shape =
            libtorch("mat1 and mat2 shapes cannot be multiplied\nException raised from meta at x.cpp:1\nframe #0");
        assert!(!shape.is_out_of_memory());
        assert_eq!(shape.report(), "error: libtorch: mat1 and mat2 shapes cannot be multiplied");
    }

    #[test]
    fn a_report_is_one_chain_and_the_nearest_hint() {
        let inner = Error::data("`a.bin` is short").hint("write it again");
        let outer = Error::failed("cannot open the data").caused_by(inner);
        assert_eq!(outer.report(), "error: cannot open the data: `a.bin` is short\nhint: write it again");
        assert_eq!(outer.exit_code(), 1);
    }
}
