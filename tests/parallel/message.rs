//! What processes tell each other with the last bucket of gradients arrives on every one of them, bit for bit.
//!
//! The processes are this program again, for one test alone.

use std::env;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use tch::{Device, Kind, Tensor};
use untie::layer_map::LayerMap;
use untie::model::{ModelConfig, Weights};
use untie::optim::{GroupGradient, Moments, OptimConfig, Optimizer, ReportTiming};
use untie::parallel::{Addend, GradientSync, LaunchEnv, Message, ParallelConfig, ReducedMessage, Wire, World};
use untie::shim::Bucket;
use untie::step::{accumulate_gradients, apply_gradients, Update};

const WIRE: &str = "UNTIE_TEST_WIRE";
const NUM_VALUES: usize = 8;
const STEPS: usize = 3;

#[test]
fn the_numbers_of_all_processes_arrive_exactly() {
    in_processes("the_numbers_of_all_processes_arrive_exactly", tell_and_hear);
}

/// Runs `body` in one, two and three processes, with either wire: `test` of this file again, which gets here once more.
fn in_processes(test: &str, body: impl FnOnce(Rc<World>)) {
    if let Ok(wire) = env::var(WIRE) {
        let wire = if wire == "bf16" { Wire::Bf16 } else { Wire::Fp32 };
        let config = ParallelConfig { wire, ..ParallelConfig::default() };
        let env = LaunchEnv::from_environment().unwrap();
        return body(Rc::new(World::connect(env, &config, Device::Cpu).unwrap()));
    }
    for (wire, ranks) in ["fp32", "bf16"].into_iter().flat_map(|wire| [(wire, 1), (wire, 2), (wire, 3)]) {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let children: Vec<Child> = (0..ranks).map(|rank| start(test, wire, (rank, ranks), port)).collect();
        for (rank, child) in children.into_iter().enumerate() {
            let output = child.wait_with_output().unwrap();
            let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
            let is_well = output.status.success() && said.contains("test result: ok. 1 passed");
            assert!(is_well, "{wire}, rank {rank} of {ranks}:\n{said}\n{errors}");
        }
    }
}

fn start(test: &str, wire: &str, (rank, ranks): (usize, usize), port: u16) -> Child {
    let (_, module) = module_path!().split_once("::").unwrap();
    Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(WIRE, wire)
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", ranks.to_string())
        .env("MASTER_ADDR", "127.0.0.1")
        .env("MASTER_PORT", port.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What `rank` says in `step`: numbers that a sum, a narrower type or text would change.
fn said(rank: usize, step: usize) -> [f64; NUM_VALUES] {
    let tenth = 0.1 * (1 + rank + 10 * step) as f64;
    let mut values =
        [tenth, f64::NAN, f64::INFINITY, -f64::INFINITY, -0.0, 1e308, 5e-324, f64::from_bits(0x7ff0_0000_0000_0001)];
    // Each number at another place in every step: what is left of the step before must not show.
    values.rotate_left((rank + step) % NUM_VALUES);
    values
}

fn tell_and_hear(world: Rc<World>) {
    let (rank, ranks) = (world.rank(), world.size());
    for kind in [Kind::Float, Kind::Double] {
        let leaf = |size: i64| Tensor::ones([size], (kind, Device::Cpu)).set_requires_grad(true);
        // Sizes that are no multiple of where parts begin.
        let (first, second, last) = (leaf(33), leaf(5), leaf(7));
        // The backward is marked to finish the last bucket too, which waits for the numbers all the same.
        let buckets = [Bucket { place: 1, leaves: vec![&first, &second] }, Bucket { place: 0, leaves: vec![&last] }];
        let sync = GradientSync::new(&world, &buckets, NUM_VALUES).unwrap().unwrap();
        for step in 0..STEPS {
            let mut gradients = [&first, &second, &last].map(Tensor::grad);
            gradients.iter_mut().for_each(|gradient| drop(gradient.zero_()));
            // Made first, so that the backward gets there last, when all leaves have their gradients.
            let hidden = leaf(1) * 1.0;
            if let Some(reducer) = sync.overlapping().filter(|_| step != 1) {
                reducer.mark(&hidden, 0).unwrap();
            }
            let shares = [&first * (rank + 1) as f64, second.shallow_clone(), &last * step as f64, hidden];
            shares.iter().map(|share| share.sum(kind)).sum::<Tensor>().backward();
            let rows = sync.finish(&Tensor::from_slice(&said(rank, step))).unwrap();
            assert_eq!((rows.size(), rows.kind()), (vec![ranks as i64, NUM_VALUES as i64], Kind::Double));
            let rows = Vec::<f64>::try_from(rows.view([-1])).unwrap();
            let expected = (0..ranks).flat_map(|rank| said(rank, step));
            for (at, (found, expected)) in rows.into_iter().zip(expected).enumerate() {
                assert_eq!(
                    found.to_bits(),
                    expected.to_bits(),
                    "{kind:?}, step {step}, number {at}: {found} {expected}"
                );
            }
            // Σ (rank + 1), the number of ranks and ranks·step: small integers, also in bf16.
            let sums = [ranks * (ranks + 1) / 2, ranks, ranks * step];
            for (gradient, sum) in gradients.iter().zip(sums) {
                assert_eq!(*gradient, gradient.full_like(sum as f64), "{kind:?}, step {step}");
            }
        }
    }
}

/// One process's loss is infinite in one step, while all gradients are finite: every process knows, and leaves the step out.
#[test]
fn every_process_hears_of_a_step_that_one_must_skip() {
    in_processes("every_process_hears_of_a_step_that_one_must_skip", skip_together);
}

fn skip_together(world: Rc<World>) {
    let (rank, ranks) = (world.rank(), world.size());
    let sizes = ModelConfig {
        hidden_size: Some(16),
        num_hidden_layers: Some(1),
        num_attention_heads: Some(4),
        intermediate_size: Some(24),
        max_position_embeddings: Some(12),
        ..Default::default()
    };
    let map = LayerMap::from_groups(1, &[vec![0]]).unwrap();
    let weights = Weights::initialise(&sizes.resolve(90).unwrap(), &map, 3, Kind::Float, Device::Cpu).unwrap();
    let leaves: Vec<&Tensor> = weights.entries().iter().map(|weight| &weight.tensor).collect();
    let sync =
        GradientSync::new(&world, &[Bucket { place: -1, leaves: leaves.clone() }], Message::num_values(2)).unwrap();
    let mut moments = Moments::zeros(&weights).unwrap();
    let mut optimizer = Optimizer::new(&weights, 0, GroupGradient::Mean, None, ReportTiming::AtOnce).unwrap();
    let optim = OptimConfig::default();
    let hashes = || -> Vec<u64> {
        let sums = leaves.iter().map(|leaf| leaf.detach().to_kind(Kind::Double).sum(Kind::Double).double_value(&[]));
        sums.map(f64::to_bits).collect()
    };
    for step in 0..STEPS {
        let is_infinite = step == 1;
        let own = if is_infinite && rank + 1 == ranks { f64::INFINITY } else { 0.25 * (rank + 1) as f64 };
        let before = hashes();
        // Gradients of rank + 1, and a loss that is a constant: the sum less itself is 0.
        accumulate_gradients(&mut optimizer, &weights, 1, |_| {
            let sum = leaves.iter().map(|leaf| leaf.sum(Kind::Float)).sum::<Tensor>() * (rank + 1) as f64;
            Ok(&sum - sum.detach() + own)
        })
        .unwrap();
        let sums = vec![Addend::Host(rank as f64), Addend::Device(Tensor::from(step as i64))];
        let message = Message { stop: if rank == 0 { step as u32 } else { 0 }, sums };
        let update = Update { optim: &optim, learning_rate: 1e-3, sync: sync.as_ref() };
        let pending = apply_gradients(&mut optimizer, &weights, &mut moments, update, &message).unwrap();
        // ranks·(ranks + 1)/2 quarters, exact in any order.
        let triangle = (ranks * (ranks + 1) / 2) as f64;
        let loss = if is_infinite { f64::INFINITY } else { 0.25 * triangle };
        let sums = vec![triangle - ranks as f64, (ranks * step) as f64];
        assert_eq!(pending.message().unwrap(), ReducedMessage { loss, stop: step as u32, sums });
        let report = pending.read().unwrap();
        assert_eq!((report.loss, report.applied), (loss, !is_infinite));
        assert_eq!(before == hashes(), is_infinite);
        world.check_same("weights", &hashes(), |at| at.to_string()).unwrap();
    }
}
