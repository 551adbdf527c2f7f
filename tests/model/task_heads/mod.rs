//! Models with a task's head: transformers computes the same, here logits, losses and gradients; in `hub` what is loaded and
//! exported, in `dropout` that of the pooled vector. The expected numbers are those of tests/fixtures/hub/make_task_fixtures.py.

mod dropout;
mod hub;

use tch::{Device, Kind, Reduction, Tensor};
use untie::hub::{load_for_task, HubModel};
use untie::model::{Bert, Mode, TaskHead};

use crate::fixtures::{distance, fixture, input, read, Tensors, NORMS};

const HEADS: [(&str, TaskHead); 5] = [
    ("sequence-2", TaskHead::Sequence { num_labels: 2 }),
    ("sequence-3", TaskHead::Sequence { num_labels: 3 }),
    ("sequence-1", TaskHead::Sequence { num_labels: 1 }),
    ("span", TaskHead::Span),
    ("token-3", TaskHead::Token { num_labels: 3 }),
];

fn expected(norm: &str) -> Tensors {
    read(&fixture(&format!("{norm}-tasks.safetensors")))
}

fn output_layer(head: TaskHead) -> &'static str {
    match head {
        TaskHead::Sequence { .. } | TaskHead::Token { .. } => "classifier",
        TaskHead::Span => "qa_outputs",
    }
}

/// The encoder and pooler of the fixtures' pre-trained model, with the output layer that transformers had.
fn load(norm: &str, name: &str, head: TaskHead, kind: Kind) -> (HubModel, Bert) {
    let model = load_for_task(&fixture(&format!("{norm}-pairs")), head, 0, kind, Device::Cpu).unwrap();
    let values = expected(norm);
    for part in ["weight", "bias"] {
        let tensor = format!("{}.{part}", output_layer(head));
        let mut leaf = model.weights.tensor(&tensor).unwrap();
        tch::no_grad(|| leaf.copy_(&values[&format!("{name}/{part}")]));
    }
    let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, kind).unwrap();
    (model, bert)
}

/// [B, L], [B, T, L], or starts and ends as [2, B, T].
fn logits(bert: &Bert, head: TaskHead, batch: &Tensors, mode: Mode) -> Tensor {
    let hidden = bert.encode(input(batch), mode).unwrap();
    match head {
        TaskHead::Sequence { .. } => bert.sequence_logits(&hidden, mode, None).unwrap(),
        TaskHead::Span => {
            let (starts, ends) = bert.span_logits(&hidden).unwrap();
            Tensor::stack(&[starts, ends], 0)
        }
        TaskHead::Token { .. } => bert.token_logits(&hidden, mode, None).unwrap(),
    }
}

fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Tensor {
    logits.cross_entropy_loss(labels, None::<Tensor>, Reduction::Mean, -100, 0.0)
}

/// A gradient's products with two waves, and its norm; as make_task_fixtures.py computes them.
fn probes(gradient: &Tensor) -> Tensor {
    let flat = gradient.to_kind(Kind::Double).flatten(0, -1);
    let places = Tensor::arange(flat.numel() as i64, (Kind::Double, Device::Cpu));
    Tensor::stack(&[flat.dot(&(&places * 0.7).cos()), flat.dot(&(&places * 0.3).sin()), flat.norm()], 0)
}

#[test]
fn logits_losses_and_gradients_are_those_of_transformers() {
    for norm in NORMS {
        let found = expected(norm);
        for (name, head) in HEADS {
            // A probe adds up hundreds of entries of a gradient: in fp32 more than one of them is off.
            for (kind, tolerance, probe_tolerance) in [(Kind::Double, 1e-10, 1e-10), (Kind::Float, 1e-5, 4e-5)] {
                let (model, bert) = load(norm, name, head, kind);
                let logits = logits(&bert, head, &found, Mode::Train);
                let labels = &found[&format!("{name}/labels")];
                let loss = match head {
                    TaskHead::Sequence { num_labels: 1 } => {
                        logits.squeeze_dim(1).mse_loss(&labels.to_kind(kind), Reduction::Mean)
                    }
                    TaskHead::Sequence { .. } => cross_entropy(&logits, labels),
                    TaskHead::Token { .. } => cross_entropy(&logits.flatten(0, 1), &labels.flatten(0, 1)),
                    TaskHead::Span => {
                        let loss = |at| cross_entropy(&logits.get(at), &labels.get(at));
                        (loss(0) + loss(1)) / 2.0
                    }
                };
                loss.backward();

                let case = format!("{norm} {name} {kind:?}");
                assert_eq!(logits.kind(), kind, "{case}");
                let error = distance(&logits.detach(), &found[&format!("{name}/logits")]);
                assert!(error <= tolerance, "{case}: logits are {error:e} off");
                let loss_error = distance(&loss.detach(), &found[&format!("{name}/loss")]);
                assert!(loss_error <= tolerance, "{case}: the loss is {loss_error:e} off");
                let mut entries: Vec<_> = model.weights.entries().iter().collect();
                entries.sort_by(|one, other| one.spec.name.cmp(&other.spec.name));
                let expected_probes = &found[&format!("{name}/probes")];
                assert_eq!(expected_probes.size(), [entries.len() as i64, 3], "{case}");
                let (mut worst, mut worst_probe, mut num_whole) = (0.0_f64, 0.0_f64, 0);
                for (at, weight) in entries.iter().enumerate() {
                    let gradient = weight.in_file(&weight.tensor.grad());
                    if weight.spec.name == "bert.embeddings.word_embeddings.weight" {
                        // torch's nn.Embedding leaves out the gradient of `padding_idx`, token 0, which a loss over all
                        // places of a padded sequence has.
                        let _ = gradient.get(0).zero_();
                    }
                    let error = distance(&probes(&gradient), &expected_probes.get(at as i64));
                    assert!(error <= probe_tolerance, "{case}: probes of `{}` are {error:e} off", weight.spec.name);
                    worst_probe = worst_probe.max(error);
                    if let Some(whole) = found.get(&format!("{name}/gradient/{}", weight.spec.name)) {
                        let error = distance(&gradient, whole);
                        assert!(error <= tolerance, "{case}: gradient of `{}` is {error:e} off", weight.spec.name);
                        (worst, num_whole) = (worst.max(error), num_whole + 1);
                    }
                }
                let has_pooler = matches!(head, TaskHead::Sequence { .. });
                assert_eq!(num_whole, if has_pooler { 4 } else { 2 }, "{case}");
                println!(
                    "{case}: logits {error:e}, loss {loss_error:e}, gradients {worst:e}, their probes {worst_probe:e} off"
                );
            }
        }
    }
}

/// bf16 has eight bits, but what is behind the pooler, and the logits of spans, have those of fp32.
#[test]
fn logits_of_bf16_models_are_in_fp32() {
    let _no_grad = tch::no_grad_guard();
    for (name, head) in HEADS {
        let found = expected("post");
        let (model, exact) = load("post", name, head, Kind::Float);
        let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, Kind::BFloat16).unwrap();
        let (got, exact) =
            (logits(&bert, head, &found, Mode::Eval), logits(&exact, head, &found, Mode::Eval).to_kind(Kind::Double));
        assert_eq!(got.kind(), Kind::Float, "{name}");
        let error = distance(&got, &exact);
        assert!(error < 0.15, "{name}: {error:e} off");
        let rounded = got.to_kind(Kind::BFloat16).to_kind(Kind::Float);
        assert_ne!(got, rounded, "{name}: every logit has a bf16's bits only");
    }
}

/// What a model has not is an error, whichever head it has.
#[test]
fn a_head_that_the_model_lacks_is_an_error() {
    let hidden = Tensor::zeros([2, 5, 16], (Kind::Float, Device::Cpu));
    let positions = Tensor::from_slice(&[0_i64, 3]);
    let heads = [
        None,
        Some(TaskHead::Sequence { num_labels: 2 }),
        Some(TaskHead::Span),
        Some(TaskHead::Token { num_labels: 2 }),
    ];
    for head in heads {
        let dir = fixture("post-pairs");
        let model = match head {
            None => untie::hub::load(&dir, Kind::Float, Device::Cpu).unwrap(),
            Some(head) => load_for_task(&dir, head, 0, Kind::Float, Device::Cpu).unwrap(),
        };
        let bert = Bert::new(&model.config, &model.layer_map(), &model.weights, Kind::Float).unwrap();
        let weights = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let targets = untie::shim::Targets { positions: &positions, labels: &positions, weights: &weights, total: 2.0 };
        let pretrains = head.is_none();
        let answers = [
            (bert.mlm_logits(&hidden, &positions).map(drop), pretrains, "no masked-language-model head"),
            (bert.mlm_loss(&hidden, targets).map(drop), pretrains, "no masked-language-model head"),
            (bert.pair_logits(&hidden).map(drop), pretrains, "no head for pairs"),
            (
                bert.sequence_logits(&hidden, Mode::Eval, None).map(drop),
                matches!(head, Some(TaskHead::Sequence { .. })),
                "no head for sequences",
            ),
            (bert.span_logits(&hidden).map(drop), head == Some(TaskHead::Span), "no head for spans"),
            (
                bert.token_logits(&hidden, Mode::Eval, None).map(drop),
                matches!(head, Some(TaskHead::Token { .. })),
                "no head for tokens",
            ),
        ];
        for (answer, has_it, words) in answers {
            match answer {
                Ok(()) => assert!(has_it, "{head:?}: {words}"),
                Err(error) => {
                    assert!(!has_it && error.to_string().contains(words), "{head:?}: {error}");
                    assert_eq!(error.exit_code(), 1);
                }
            }
        }
    }
}
