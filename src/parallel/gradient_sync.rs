//! The gradients of a model, summed over the processes.

use std::rc::Rc;

use tch::Tensor;

use crate::error::Result;
use crate::parallel::world::World;
use crate::shim::{Bucket, GradientReducer};

/// Sums the gradients of a step over the processes of a [`World`], which tell each other numbers with the last of them.
#[derive(Debug)]
pub struct GradientSync {
    world: Rc<World>,
    reducer: Rc<GradientReducer>,
}

impl GradientSync {
    /// For the leaves of `buckets`, which get new gradients of zeros, and `num_values` numbers of each process; `None` in a world
    /// of one process that nobody started otherwise.
    ///
    /// # Errors
    /// As [`GradientReducer::new`].
    pub fn new(world: &Rc<World>, buckets: &[Bucket<'_>], num_values: usize) -> Result<Option<Self>> {
        let reducer = world.reducer(buckets, num_values)?;
        Ok(reducer.map(|reducer| Self { world: world.clone(), reducer: Rc::new(reducer) }))
    }

    /// What a model marks in the forward of a step's last micro-batch, so that gradients travel during its backward; `None` where
    /// they do not.
    pub fn overlapping(&self) -> Option<Rc<GradientReducer>> {
        self.world.overlaps().then(|| self.reducer.clone())
    }

    /// After the last backward of a step: sums all gradients. Returns the `values` of all processes, as
    /// [`GradientReducer::finish`].
    ///
    /// # Errors
    /// A process that is gone, by its number.
    pub fn finish(&self, values: &Tensor) -> Result<Tensor> {
        self.world.done(self.reducer.finish(values))
    }
}
