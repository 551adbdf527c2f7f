//! The derived statistics of a run: parameters by kind, tokens and FLOPs a step, memory. Printed before step 0.

use std::fmt;

use tch::{Device, Kind};

use crate::config::phases::Phase;
use crate::layer_map::LayerMap;
use crate::metrics::human::{human_bytes, human_count, human_duration};
use crate::model::weights::specs;
use crate::model::{BertConfig, Compute};
use crate::pretrain::memory::{Memory, Step};

/// Parameters of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The kind, e.g. `embeddings`.
    pub name: &'static str,
    /// With the sharing of the start.
    pub at_start: i64,
    /// With every layer on its own.
    pub untied: i64,
}

/// The sizes of one phase; counts are of one step unless said.
#[derive(Clone, Copy, Debug)]
pub struct PhaseStats {
    /// Which steps, and how much each reads.
    pub phase: Phase,
    /// Samples of an epoch.
    pub samples_per_epoch: u64,
    /// Largest number of targets.
    pub targets: u64,
    /// Multiplications and additions of the matrix products of one layer, forward and backward.
    pub layer_flops: f64,
    /// Those of the head.
    pub head_flops: f64,
}

impl PhaseStats {
    /// The statistics of `phase`, whose samples have `capacity` target slots and of which an epoch has `samples_per_epoch`.
    pub fn new(bert: &BertConfig, phase: Phase, capacity: usize, samples_per_epoch: u64) -> Self {
        let sequences = phase.global_batch;
        Self {
            targets: (sequences * capacity) as u64,
            layer_flops: 3.0 * sequences as f64 * layer_flops(bert, phase.sequence_length),
            head_flops: 3.0 * sequences as f64 * head_flops(bert, capacity),
            samples_per_epoch,
            phase,
        }
    }

    /// Those of a step that executes `layers`.
    pub fn flops(&self, layers: f64) -> f64 {
        layers * self.layer_flops + self.head_flops
    }

    /// Target slots of a sequence.
    pub fn capacity(&self) -> usize {
        self.targets as usize / self.phase.global_batch
    }

    /// Its largest forward and backward, of a model shared as `map`.
    pub fn step<'a>(
        &self,
        bert: &'a BertConfig,
        map: &'a LayerMap,
        compute: Compute,
        (device, probed): (Device, bool),
    ) -> Step<'a> {
        Step {
            bert,
            map,
            device,
            probed,
            compute,
            sequences: self.phase.micro_batch,
            length: self.phase.sequence_length,
            capacity: self.capacity(),
        }
    }

    fn steps(&self) -> u64 {
        self.phase.end - self.phase.start
    }

    fn epochs(&self) -> f64 {
        self.steps() as f64 * self.phase.global_batch as f64 / self.samples_per_epoch as f64
    }
}

/// What follows from the sizes of a run.
#[derive(Clone, Debug)]
pub struct RunStats {
    /// Parameters by kind.
    pub parts: Vec<Part>,
    /// Its phases.
    pub phases: Vec<PhaseStats>,
    /// Bytes of weights, gradients and moments, at the start and untied.
    pub state_bytes: [f64; 2],
    /// The peaks of memory.
    pub memory: Peaks,
    /// Layers that a step executes, in the mean, from each of these steps on.
    pub layers: Vec<(u64, f64)>,
}

/// The peaks of a run's memory, each in the phase where it is highest.
#[derive(Clone, Copy, Debug)]
pub struct Peaks {
    /// Of a step as layers share weights at the start.
    pub start: Memory,
    /// Of what comes later, where that ends.
    pub later: Option<Later>,
}

/// Peaks of a run whose groups split.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    /// Of a transition.
    pub transition: Memory,
    /// Of a step after the last one.
    pub step: Memory,
    /// Whether every layer has weights of its own then.
    pub is_untied: bool,
}

impl Peaks {
    /// The highest of all, in bytes.
    pub fn highest(&self) -> f64 {
        let later = self.later.map_or(0.0, |later| later.transition.total().max(later.step.total()));
        self.start.total().max(later)
    }
}

impl RunStats {
    /// The statistics of a run on `device` through `phases` and the walks of `course`, each with the steps before it;
    /// `is_probed`: with checks of the layers' gradients; `saves`: checkpoints are written while training goes on; `remembers`: weights
    /// are kept for a later blend.
    pub fn new(
        bert: &BertConfig,
        course: Vec<(u64, LayerMap)>,
        compute: Compute,
        (device, is_probed, saves, remembers): (Device, bool, bool, bool),
        phases: Vec<PhaseStats>,
    ) -> Self {
        let untied = LayerMap::untied(bert.num_hidden_layers);
        let layers = course.iter().map(|(step, walk)| (*step, walk.num_layers() as f64)).collect();
        let walk: Vec<LayerMap> = course.into_iter().map(|(_, walk)| walk).collect();
        let start = walk.first().unwrap_or(&untied);
        let parts = parts(bert, start);
        let state_width = 4.0 * if compute.weight_kind() == Kind::Double { 8.0 } else { 4.0 };
        let total = |pick: fn(&Part) -> i64| parts.iter().map(pick).sum::<i64>() as f64;
        let highest = |memory: &dyn Fn(&PhaseStats) -> Memory| {
            phases.iter().map(memory).max_by(|one, other| one.total().total_cmp(&other.total())).unwrap_or_default()
        };
        let saved = |memory: Memory, state| if saves { memory.during_a_save(state, device) } else { memory };
        let peak = |map: &LayerMap| {
            highest(&|stats| {
                let step = Memory::of(&stats.step(bert, map, compute, (device, is_probed)));
                saved(step, step.state)
            })
        };
        // A checkpoint that is still being written is of the model before.
        let transition = |[before, after]: [&LayerMap; 2]| {
            highest(&|stats| {
                let step = stats.step(bert, before, compute, (device, is_probed));
                saved(Memory::of_transition(&step, after), Memory::of(&step).state)
            })
        };
        let transitions = walk.windows(2).map(|pair| transition([&pair[0], &pair[1]]));
        let later = transitions.max_by(|one, other| one.total().total_cmp(&other.total())).map(|transition| {
            let last = &walk[walk.len() - 1];
            // Layers that are averaged or blended share nothing with those before: both are there for a moment.
            let mixed = if remembers { state_width * total(|part| part.untied) } else { 0.0 };
            let transition = Memory { state: transition.state + mixed, ..transition };
            Later { transition, step: peak(last), is_untied: *last == untied }
        });
        Self {
            state_bytes: [state_width * total(|part| part.at_start), state_width * total(|part| part.untied)],
            memory: Peaks { start: peak(start), later },
            parts,
            phases,
            layers,
        }
    }

    /// All of them as a table, with the shortest time that a product rate of `rate` FLOP/s allows.
    pub fn describe(&self, rate: f64) -> String {
        format!(
            "{self}\ntime               matrix products run at {:.3} TFLOP/s here: at least {}",
            rate / 1e12,
            human_duration(self.flops() / rate)
        )
    }

    /// FLOPs of the whole run.
    pub fn flops(&self) -> f64 {
        let ends = self.layers.iter().skip(1).map(|(step, _)| *step).chain([u64::MAX]);
        let segments = self.layers.iter().zip(ends).flat_map(|(&(from, layers), to)| {
            self.phases.iter().map(move |stats| {
                let phase = &stats.phase;
                let steps = to.clamp(phase.start, phase.end) - from.clamp(phase.start, phase.end);
                steps as f64 * stats.flops(layers)
            })
        });
        segments.sum()
    }

    /// The most layers that a step executes.
    fn most_layers(&self) -> f64 {
        self.layers.iter().map(|(_, layers)| *layers).fold(0.0, f64::max)
    }

    /// Tokens that the whole run reads.
    pub fn tokens(&self) -> u128 {
        self.phases.iter().map(|stats| u128::from(stats.steps()) * u128::from(stats.phase.tokens())).sum()
    }
}

fn parts(bert: &BertConfig, start: &LayerMap) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let untied = LayerMap::untied(bert.num_hidden_layers);
    for (map, is_start) in [(start, true), (&untied, false)] {
        for spec in specs(bert, map) {
            let size = spec.shape.iter().product::<i64>();
            let at = parts.iter().position(|part| part.name == spec.part()).unwrap_or_else(|| {
                parts.push(Part { name: spec.part(), at_start: 0, untied: 0 });
                parts.len() - 1
            });
            *(if is_start { &mut parts[at].at_start } else { &mut parts[at].untied }) += size;
        }
    }
    parts
}

/// FLOPs of the matrix products of one sequence's forward in one layer, where a product [m, k]·[k, n] is 2·m·k·n; the backward is
/// twice that: 2T(4C² + 2C·I) for the projections, 4T²C for attention.
fn layer_flops(bert: &BertConfig, length: usize) -> f64 {
    let (width, inner, length) = (bert.hidden_size as f64, bert.intermediate_size as f64, length as f64);
    2.0 * length * (4.0 * width * width + 2.0 * width * inner) + 4.0 * length * length * width
}

/// Of the head: 2C² + 2CV a target.
fn head_flops(bert: &BertConfig, capacity: usize) -> f64 {
    let width = bert.hidden_size as f64;
    capacity as f64 * (2.0 * width * width + 2.0 * width * bert.padded_vocab_size() as f64)
}

impl fmt::Display for RunStats {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<18} {:>14} {:>14}", "parameters", "at the start", "untied")?;
        for part in &self.parts {
            writeln!(formatter, "  {:<16} {:>14} {:>14}", part.name, part.at_start, part.untied)?;
        }
        let sum = |pick: fn(&Part) -> i64| self.parts.iter().map(pick).sum::<i64>();
        writeln!(formatter, "  {:<16} {:>14} {:>14}", "all", sum(|part| part.at_start), sum(|part| part.untied))?;
        for stats in &self.phases {
            let phase = &stats.phase;
            if self.phases.len() > 1 {
                writeln!(formatter, "phase {:<12} steps {} to {}", phase.number + 1, phase.start + 1, phase.end)?;
            }
            writeln!(
                formatter,
                "a step             {} sequences of {}, {} tokens, up to {} targets, {:.3} TFLOP",
                phase.global_batch,
                phase.sequence_length,
                phase.tokens(),
                stats.targets,
                stats.flops(self.most_layers()) / 1e12
            )?;
            let (epochs, samples) = (stats.epochs(), stats.samples_per_epoch);
            writeln!(formatter, "data               {epochs:.2} epochs of {samples} samples")?;
        }
        let steps: u64 = self.phases.iter().map(PhaseStats::steps).sum();
        writeln!(formatter, "the run            {steps} steps, {} tokens", human_count(self.tokens()))?;
        let Peaks { start, later } = &self.memory;
        write!(formatter, "memory             {start}")?;
        let Some(Later { transition, step, is_untied }) = later else { return Ok(()) };
        let [transition, step] = [transition, step].map(|peak| human_bytes(peak.total() as u128));
        let then = if *is_untied { "untied" } else { "after the last one" };
        write!(formatter, "; at a transition {transition}; {then} {step}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelConfig, Preset};

    /// BERT-base at T = 128 by hand, forward and backward of one sequence: 3·(12·(2·128·7,077,888 + 4·128²·768) + 19·(2·768² +
    /// 2·768·30,528)) FLOPs.
    #[test]
    fn flops_are_those_of_the_formula() {
        let bert = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        let phase =
            Phase { number: 0, start: 0, end: 1, sequence_length: 128, global_batch: 1, micro_batch: 1, ranks: 1 };
        let expected = 12.0 * (2.0 * 128.0 * 7_077_888.0 + 4.0 * 16_384.0 * 768.0)
            + 19.0 * (2.0 * 589_824.0 + 2.0 * 768.0 * 30_528.0);
        assert_eq!(PhaseStats::new(&bert, phase, 19, 1000).flops(12.0), 3.0 * expected);
    }

    /// The parts add up to the published sizes: 109,514,298 untied; eleven of twelve layers of 7,087,872 fewer tied.
    #[test]
    fn parts_add_up() {
        let bert = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        let stats = RunStats::new(
            &bert,
            vec![(0, LayerMap::tied(12))],
            Kind::Float.into(),
            (Device::Cpu, true, false, false),
            Vec::new(),
        );
        assert_eq!(stats.parts.iter().map(|part| part.untied).sum::<i64>(), 109_514_298);
        assert_eq!(stats.parts.iter().map(|part| part.at_start).sum::<i64>(), 109_514_298 - 11 * 7_087_872);
        assert_eq!(stats.state_bytes[1], 16.0 * 109_514_298.0);
        let phase =
            Phase { number: 0, start: 0, end: 1, sequence_length: 128, global_batch: 4, micro_batch: 4, ranks: 1 };
        let memory = |walk: &[LayerMap], saves: bool| {
            let phases = vec![PhaseStats::new(&bert, phase, 19, 1000)];
            let course = walk.iter().map(|walk| (0, walk.clone())).collect();
            RunStats::new(&bert, course, Kind::Float.into(), (Device::Cpu, true, saves, false), phases).memory
        };
        let (tied, untied) = (LayerMap::tied(12), LayerMap::untied(12));
        let peaks = memory(&[tied.clone(), untied.clone()], false);
        let later = peaks.later.unwrap();
        // The vocabulary is padded from 30,522 to 30,528 in memory: six rows of 768 and a bias each.
        assert_eq!(later.step.state, 16.0 * (109_514_298.0 + 6.0 * 769.0));
        assert_eq!((peaks.start.probe, later.step.probe), (4.0 * 12.0 * 7_087_872.0, 0.0));
        // A transition has the new state and none of the old beside it, and no activations.
        assert_eq!((later.transition.state, later.transition.saved), (later.step.state, 0.0));
        assert!(later.is_untied && later.transition.total() < later.step.total());
        assert_eq!(peaks.highest(), later.step.total());
        let start = LayerMap::from_groups(12, &[(0..10).collect(), vec![10], vec![11]]).unwrap();
        let peaks = memory(std::slice::from_ref(&start), false);
        assert_eq!((peaks.start.probe, peaks.later.is_none()), (4.0 * 10.0 * 7_087_872.0, true));
        // A checkpoint that is being written at a transition is of the model before it.
        let peaks = memory(&[tied, start, untied], true);
        let three = 109_514_298.0 + 6.0 * 769.0 - 9.0 * 7_087_872.0;
        assert_eq!(peaks.later.unwrap().transition.checkpoint, 12.0 * three);
    }

    /// 90 steps of 8·128 tokens and 10 of 4·512, and the FLOPs of both.
    #[test]
    fn phases_add_up() {
        let bert = ModelConfig { preset: Some(Preset::BertBase), ..Default::default() }.resolve(30522).unwrap();
        let phase = |number, start, end, sequence_length, global_batch| Phase {
            number,
            start,
            end,
            sequence_length,
            global_batch,
            micro_batch: 4,
            ranks: 1,
        };
        let phases = vec![
            PhaseStats::new(&bert, phase(0, 0, 90, 128, 8), 19, 1000),
            PhaseStats::new(&bert, phase(1, 90, 100, 512, 4), 77, 250),
        ];
        let stats = RunStats::new(
            &bert,
            vec![(0, LayerMap::tied(12))],
            Kind::Float.into(),
            (Device::Cpu, true, false, false),
            phases,
        );
        assert_eq!(stats.tokens(), 90 * 8 * 128 + 10 * 4 * 512);
        let expected = 90.0 * stats.phases[0].flops(12.0) + 10.0 * stats.phases[1].flops(12.0);
        assert!((stats.flops() / expected - 1.0).abs() < 1e-12);
        let text = stats.to_string();
        for line in ["phase 2            steps 91 to 100", "the run            100 steps, 113"] {
            assert!(text.contains(line), "{text}");
        }
    }
}
