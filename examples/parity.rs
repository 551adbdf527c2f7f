//! Our side of scripts/parity.py, which compares it with transformers.
//!
//! `outputs MODEL INPUT OUTPUT KIND` loads a Hugging Face directory, runs it in `fp32` or `fp64` on the batch in INPUT
//! (`input_ids`, `attention_mask`, `token_type_ids` [B, T], `positions` [N]) and writes `hidden_states` [L+1, B, T, C]
//! and `logits` [N, V]. `export DIR NORM SHARING MODEL INPUT OUTPUT` makes a random model of MODEL's sizes and
//! tokenizer with NORM `post` or `pre`, or `post+pairs` or `pre+pairs` for one with a pair head, and SHARING `tied`, `outer`
//! (first and last layer) or `untied`, exports it, and writes the outputs of what it had in memory, `pair_logits` [B, 2] too
//! where there is a pair head; with `+sequence` (three labels), `+regression` or `+span` it has that task's head instead, and
//! the outputs are its `task_logits`, [B, L] or starts and ends as [2, B, T]; `pre+esm` is `pre`, exported as EsmForMaskedLM. `task MODEL INPUT OUTPUT HEAD` gives MODEL a
//! new HEAD of one of these names, and writes its `task_logits`, `weight` and `bias`. `step MODEL INPUT OUTPUT KIND SHARING`
//! takes one step of AdamW on `labels` [N] with the weights of each group's lowest layer, and writes `loss` (averaged in
//! fp64), `loss_own_kind` (averaged in KIND), `norm` and the parameters after it.

use std::collections::HashMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use untie::error::{Error, Result};
use untie::hub;
use untie::layer_map::LayerMap;
use untie::model::{Bert, BertConfig, Input, Mode, Norm, TaskHead, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};

/// Words for the labels of `sequence`.
const LABELS: [&str; 3] = ["entailment", "neutral", "contradiction"];

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["outputs", model, input, output, kind] => outputs(model.as_ref(), input.as_ref(), output.as_ref(), kind),
        ["export", dir, norm, sharing, model, input, output] => {
            export(dir.as_ref(), norm, sharing, model.as_ref(), input.as_ref(), output.as_ref())
        }
        ["task", model, input, output, head] => task(model.as_ref(), input.as_ref(), output.as_ref(), head),
        ["step", model, input, output, kind, sharing] => {
            step(model.as_ref(), input.as_ref(), output.as_ref(), kind, sharing)
        }
        _ => Err(Error::config("expected `outputs`, `export`, `task` or `step` with its arguments")),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.report());
            error.exit_code().into()
        }
    }
}

fn kind_of(name: &str) -> Result<Kind> {
    match name {
        "fp32" => Ok(Kind::Float),
        "fp64" => Ok(Kind::Double),
        other => Err(Error::config(format!("expected `fp32` or `fp64`, got `{other}`"))),
    }
}

fn head_of(name: &str) -> Result<TaskHead> {
    match name {
        "sequence" => Ok(TaskHead::Sequence { num_labels: LABELS.len() }),
        "regression" => Ok(TaskHead::Sequence { num_labels: 1 }),
        "token" => Ok(TaskHead::Token { num_labels: LABELS.len() }),
        "span" => Ok(TaskHead::Span),
        other => Err(Error::config(format!("expected `sequence`, `regression`, `token` or `span`, got `{other}`"))),
    }
}

fn sharing_of(name: &str, layers: usize) -> Result<LayerMap> {
    match name {
        "tied" => Ok(LayerMap::tied(layers)),
        "untied" => Ok(LayerMap::untied(layers)),
        "outer" => {
            let rest = (1..layers - 1).map(|layer| vec![layer]);
            LayerMap::from_groups(layers, &std::iter::once(vec![0, layers - 1]).chain(rest).collect::<Vec<_>>())
        }
        other => Err(Error::config(format!("expected `tied`, `outer` or `untied`, got `{other}`"))),
    }
}

/// The batch that the script wrote.
struct Batch(HashMap<String, Tensor>);

impl Batch {
    fn read(path: &Path) -> Result<Self> {
        Ok(Self(Tensor::read_safetensors(path)?.into_iter().collect()))
    }

    fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).ok_or_else(|| Error::data(format!("the batch has no `{name}`")))
    }

    fn input(&self) -> Result<Input<'_>> {
        Ok(Input {
            token_types: Some(self.get("token_type_ids")?),
            attention_mask: Some(self.get("attention_mask")?),
            ..Input::full(self.get("input_ids")?)
        })
    }
}

fn write_outputs(bert: &Bert, config: &BertConfig, batch: &Batch, path: &Path) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    if let Some(head) = config.task_head {
        return Ok(Tensor::write_safetensors(&[("task_logits", task_logits(bert, head, batch)?)], path)?);
    }
    let states = bert.hidden_states(batch.input()?, Mode::Eval)?;
    let logits = bert.mlm_logits(&states[states.len() - 1], batch.get("positions")?)?;
    let logits = logits.f_narrow(1, 0, config.vocab_size)?.f_contiguous()?;
    let mut found = vec![("hidden_states", Tensor::f_stack(&states, 0)?), ("logits", logits)];
    if config.pair_head {
        found.push(("pair_logits", bert.pair_logits(&states[states.len() - 1])?));
    }
    Ok(Tensor::write_safetensors(&found, path)?)
}

fn task_logits(bert: &Bert, head: TaskHead, batch: &Batch) -> Result<Tensor> {
    let hidden = bert.encode(batch.input()?, Mode::Eval)?;
    match head {
        TaskHead::Sequence { .. } => bert.sequence_logits(&hidden, Mode::Eval, None),
        TaskHead::Token { .. } => bert.token_logits(&hidden, Mode::Eval, None),
        TaskHead::Span => {
            let (starts, ends) = bert.span_logits(&hidden)?;
            Ok(Tensor::f_stack(&[starts, ends], 0)?)
        }
    }
}

fn task(model: &Path, input: &Path, output: &Path, head: &str) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let head = head_of(head)?;
    let model = hub::load_for_task(model, head, 1, Kind::Float, Device::Cpu)?;
    println!("  new: {}", model.new_tensors.join(", "));
    let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, Kind::Float)?;
    let name = if head == TaskHead::Span { "qa_outputs" } else { "classifier" };
    let own = |part: &str| model.weights.tensor(&format!("{name}.{part}")).map(|tensor| tensor.detach());
    let logits = task_logits(&bert, head, &Batch::read(input)?)?;
    let found = [("task_logits", logits), ("weight", own("weight")?), ("bias", own("bias")?)];
    Ok(Tensor::write_safetensors(&found, output)?)
}

fn outputs(model: &Path, input: &Path, output: &Path, kind: &str) -> Result<()> {
    let kind = kind_of(kind)?;
    let model = hub::load(model, kind, Device::Cpu)?;
    let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, kind)?;
    write_outputs(&bert, &model.config, &Batch::read(input)?, output)
}

fn export(dir: &Path, norm: &str, sharing: &str, model: &Path, input: &Path, output: &Path) -> Result<()> {
    let (norm, heads) = norm.split_once('+').unwrap_or((norm, ""));
    let norm = match norm {
        "post" => Norm::Post,
        "pre" => Norm::Pre,
        other => return Err(Error::config(format!("expected `post` or `pre`, got `{other}`"))),
    };
    let (pair_head, task_head) = match heads {
        "" | "esm" => (false, None),
        "pairs" => (true, None),
        head => (false, Some(head_of(head)?)),
    };
    let config = BertConfig { norm, pair_head, task_head, ..hub::load_config(model)? };
    let map = sharing_of(sharing, config.num_hidden_layers)?;
    let weights = Weights::initialise(&config, &map, 1, Kind::Float, Device::Cpu)?;
    tch::manual_seed(2);
    tch::no_grad(|| -> Result<()> {
        for weight in weights.entries() {
            // Biases are no longer 0 nor LayerNorm's scales 1, so that none can stand for another.
            let mut values = weight.in_file(&weight.tensor);
            let noise = values.f_randn_like()? * 0.02;
            let _ = values.f_add_(&noise)?;
        }
        Ok(())
    })?;
    let tokenizer = model.join("tokenizer.json");
    let mut model = hub::Export::new(&config, &map, &weights, &tokenizer);
    match heads {
        "sequence" | "token" => model.labels = LABELS.map(String::from).to_vec(),
        "esm" => model.family = hub::Family::Esm,
        _ => {}
    }
    model.write(dir)?;
    let bert = Bert::new(&config, &map, &weights, Kind::Float)?;
    write_outputs(&bert, &config, &Batch::read(input)?, output)
}

fn step(model: &Path, input: &Path, output: &Path, kind: &str, sharing: &str) -> Result<()> {
    let kind = kind_of(kind)?;
    let model = hub::load(model, kind, Device::Cpu)?;
    let config = BertConfig { hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0, ..model.config.clone() };
    let map = sharing_of(sharing, config.num_hidden_layers)?;
    let weights = Weights::from_named(&config, &map, kind, Device::Cpu, |spec| {
        let own = model.weights.get(&spec.name).ok_or_else(|| Error::failed("no such weight"))?;
        Ok(own.in_file(&own.tensor).detach())
    })?;
    let bert = Bert::new(&config, &map, &weights, kind)?;
    let batch = Batch::read(input)?;
    let hidden = bert.encode(batch.input()?, Mode::Train)?;
    let logits = bert.mlm_logits(&hidden, batch.get("positions")?)?;
    let surprise =
        logits.f_cross_entropy_loss(batch.get("labels")?, None::<Tensor>, tch::Reduction::None, -100, 0.0)?;
    // Near ln V ≈ 10 two fp32 numbers are 1e-6 apart: a mean in fp32 could not be compared to 1e-6.
    let loss = surprise.f_mean(Kind::Double)?;
    loss.f_backward()?;
    let optim = OptimConfig { eps: 1e-6, weight_decay: 0.01, clip_norm: 1.0, ..OptimConfig::default() };
    let mut optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce)?;
    let numbers = optimizer.update(&weights, &mut Moments::zeros(&weights)?, &optim, 1e-4)?;
    let own_kind = surprise.f_mean(surprise.kind())?.f_detach()?;
    let mut found = vec![("loss", loss.detach()), ("loss_own_kind", own_kind), ("norm", numbers.f_select(0, 1)?)];
    found.extend(weights.entries().iter().map(|weight| {
        let values = weight.in_file(&weight.tensor).detach().contiguous();
        (weight.spec.name.as_str(), values)
    }));
    Ok(Tensor::write_safetensors(&found, output)?)
}
