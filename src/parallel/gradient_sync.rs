//! The gradients of a model, summed over the processes.

use std::rc::Rc;

use tch::Tensor;

use crate::error::Result;
use crate::parallel::world::World;
use crate::shim::{Bucket, GradientReducer};

/// Sums the gradients of a step, and what else it adds up, over the processes of a [`World`].
#[derive(Debug)]
pub struct GradientSync {
    world: Rc<World>,
    reducer: Rc<GradientReducer>,
}

impl GradientSync {
    /// For the leaves of `buckets`, which get new gradients of zeros; `None` in a world of one process that nobody started
    /// otherwise.
    ///
    /// # Errors
    /// As [`GradientReducer::new`].
    pub fn new(world: &Rc<World>, buckets: &[Bucket<'_>]) -> Result<Option<Self>> {
        let reducer = world.reducer(buckets)?;
        Ok(reducer.map(|reducer| Self { world: world.clone(), reducer: Rc::new(reducer) }))
    }

    /// What a model marks in the forward of a step's last micro-batch, so that gradients travel during its backward; `None` where
    /// they do not.
    pub fn overlapping(&self) -> Option<Rc<GradientReducer>> {
        self.world.overlaps().then(|| self.reducer.clone())
    }

    /// After the last backward of a step: sums all gradients, and `loss`, a scalar on their device.
    ///
    /// # Errors
    /// A process that is gone, by its number.
    pub fn finish(&self, loss: &Tensor) -> Result<()> {
        self.world.done(self.reducer.finish())?;
        self.world.all_reduce(loss)
    }
}
