//! What training changes: weights, moments, sharing and the rule's memory. One step of it, and one transition.
//!
//! In: micro-batches' losses, as a closure over the model. Out: the next weights, and every `sharing.check_every` steps the
//! correlations of the layers' gradients. A probed step is bit-equal to a plain one: watching never changes a run.

use serde_json::Value;
use tch::{Kind, Tensor};

use crate::error::Result;
use crate::layer_map::LayerMap;
use crate::model::{Bert, BertConfig, LayerGradients, Weights};
use crate::optim::{Moments, OptimConfig};
use crate::sharing::{drifting_pairs, transition, watched_pairs, Check, Decision, Rule, SharingConfig};
use crate::shim::trim_heap;
use crate::step::{train_step, StepReport, Update};

/// What decides how a model is trained, besides its data.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Sizes of the model.
    pub bert: BertConfig,
    /// AdamW and clipping.
    pub optim: OptimConfig,
    /// Tying and untying.
    pub sharing: SharingConfig,
    /// Precision of activations.
    pub compute: Kind,
    /// Steps of the run.
    pub steps: u64,
}

/// A model in training.
#[derive(Debug)]
pub struct Trainee {
    recipe: Recipe,
    rule: Rule,
    map: LayerMap,
    weights: Weights,
    moments: Moments,
    model: Bert,
}

impl Trainee {
    /// Goes on from `weights`, shared as `map`, their moments, and the state of the rule (`None` at the start of a run).
    ///
    /// # Errors
    /// Tensors that do not fit the recipe, and the state of another rule.
    pub fn new(
        recipe: Recipe,
        map: LayerMap,
        weights: Weights,
        moments: Moments,
        rule_state: Option<&Value>,
    ) -> Result<Self> {
        let mut rule = Rule::new(&recipe.sharing, map.num_layers(), recipe.steps)?;
        if let Some(state) = rule_state {
            rule.restore(state)?;
        }
        weights.make_gradients()?;
        let model = Bert::new(&recipe.bert, &map, &weights, recipe.compute)?;
        trim_heap();
        Ok(Self { recipe, rule, map, weights, moments, model })
    }

    /// Which layers share weights.
    pub fn map(&self) -> &LayerMap {
        &self.map
    }

    /// The weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Their AdamW moments.
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The rule and what it remembers.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// The same model in another precision.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn model_in(&self, kind: Kind) -> Result<Bert> {
        Bert::new(&self.recipe.bert, &self.map, &self.weights, kind)
    }

    /// Step `number` of the run, from 1: `loss` gives each micro-batch's share of the loss of the global batch. Where a
    /// check is due and the update was applied, also the correlations of its gradients.
    ///
    /// # Errors
    /// `loss`'s own and libtorch's.
    pub fn step(
        &mut self,
        number: u64,
        learning_rate: f64,
        num_micro_batches: usize,
        mut loss: impl FnMut(&Bert, usize) -> Result<Tensor>,
    ) -> Result<(StepReport, Option<Check>)> {
        let Recipe { bert, optim, sharing, compute, .. } = &self.recipe;
        let probed = match self.is_probed(number) {
            true => Some(Bert::probed(bert, &self.map, &self.weights, *compute)?),
            false => None,
        };
        let model = probed.as_ref().map_or(&self.model, |(model, _)| model);
        let update = Update { optim, learning_rate, gradient: sharing.gradient };
        let report =
            train_step(&self.weights, &mut self.moments, update, num_micro_batches, |index| loss(model, index))?;
        let check = match probed {
            Some((_, gradients)) if report.applied => Some(self.check(&gradients)?),
            _ => None,
        };
        Ok((report, check))
    }

    fn is_probed(&self, number: u64) -> bool {
        let sharing = &self.recipe.sharing;
        number.is_multiple_of(sharing.check_every) && (sharing.monitor || self.rule.watches(&self.map).is_some())
    }

    fn check(&self, gradients: &LayerGradients) -> Result<Check> {
        // Rules that do not watch are shown what SWE-A would see.
        let watched = self.rule.watches(&self.map).unwrap_or_else(|| watched_pairs(&self.map, true));
        let drifting = if self.recipe.sharing.monitor { drifting_pairs(&self.map, &watched) } else { Vec::new() };
        Check::new(gradients, &watched, &drifting)
    }

    /// Asks the rule now that `finished` steps are done.
    pub fn decide(&mut self, finished: u64, check: Option<&Check>) -> Option<Decision> {
        self.rule.decide(finished, check.map(|check| check.watched.as_slice()), &self.map)
    }

    /// Splits groups: the transition to `map`.
    ///
    /// # Errors
    /// As [`transition()`].
    pub fn untie(&mut self, map: LayerMap) -> Result<()> {
        let (weights, moments) =
            transition(&self.map, &self.weights, &self.moments, &map, self.recipe.sharing.moments)?;
        weights.make_gradients()?;
        self.model = Bert::new(&self.recipe.bert, &map, &weights, self.recipe.compute)?;
        (self.map, self.weights, self.moments) = (map, weights, moments);
        trim_heap();
        Ok(())
    }
}
