//! The `untie` binary.

fn main() {}
