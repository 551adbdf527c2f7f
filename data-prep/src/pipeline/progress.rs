//! Who hears how a preparation gets on.

/// Hears how a preparation gets on. `()` does not listen.
pub trait Progress: Send + Sync {
    /// A stage begins that will read `total` bytes; 0 if that is not known.
    fn stage(&self, name: &str, total: u64);
    /// The stage has read `bytes` more.
    fn advance(&self, bytes: u64);
    /// Something the user should know.
    fn warn(&self, message: &str);
    /// The last stage is over.
    fn finish(&self);
}

impl Progress for () {
    fn stage(&self, _name: &str, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn warn(&self, _message: &str) {}
    fn finish(&self) {}
}
