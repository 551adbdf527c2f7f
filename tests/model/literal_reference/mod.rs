//! The product against a literal, slow reference of the paper's algorithms (tests/literal), which shares no code with it:
//! training with every kind of sharing, untying and growth, and the probe's correlations.

mod growth;
mod partial;
mod probe;
mod sides;
mod training;
