//! The deep linear network of arXiv 2110.03848 (docs/method.md, "The theory") in fp64, measured against its bounds.
//!
//! In: depths L, ε. Out: tables, CSV and a picture: whether every bound holds, how the steps to ε grow with L for ZAS and
//! for sharing ([`study`]), and what happens on targets that no tied network reaches ([`unsharing`]), all in a [`Report`].
//! Cost: about 15 seconds on two cores.
//!
//! [`network`] is the network as it stands, [`reduced`] its exact reduction to eigenvalues for symmetric targets, both a
//! [`dynamics::Dynamics`] that flows or steps. [`bounds`] and [`target`] hold what is derived on paper.

pub mod bounds;
pub mod csv;
pub mod dynamics;
pub mod fit;
pub mod matrix;
pub mod network;
pub mod options;
mod picture;
pub mod reduced;
pub mod report;
pub mod study;
pub mod tables;
pub mod target;
pub mod unsharing;

pub use options::Options;
pub use report::Report;
