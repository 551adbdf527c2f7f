//! Two hosts: network namespaces with an address each and a cable between them, which is cut in the middle of a run.

use std::fs;

use crate::common::{stderr, TestWorkspace};
use crate::namespaces::{is_allowed, unshared};
use crate::runs::metrics;

const PRELUDE: &str = "
mount -t tmpfs none /run
for host in a b; do ip netns add $host; ip -n $host link set lo up; done
ip link add va netns a type veth peer name vb netns b
ip -n a addr add 10.77.0.1/24 dev va; ip -n a link set va up
ip -n b addr add 10.77.0.2/24 dev vb; ip -n b link set vb up
start() { # host, rank, name: one process of the run NAME
    RANK=$2 WORLD_SIZE=2 LOCAL_RANK=0 MASTER_ADDR=10.77.0.1 MASTER_PORT=29500 ip netns exec $1 $UNTIE train --config run.toml \\
        --set train.precision=fp32 --set train.steps=$STEPS --set checkpoint.every=5 --set parallel.heartbeat=3 \\
        --set parallel.timeout=30 --run-dir $3 --resume > $3-$2.txt 2>&1
}
both() { start b 1 $1 & start a 0 $1; code=$?; wait; return $code; }
";

#[test]
fn a_cut_cable_ends_both_and_costs_nothing() {
    let workspace = TestWorkspace::new();
    let script = "
STEPS=60; both whole || exit 3
STEPS=400
start b 1 cut & one=$!
start a 0 cut & other=$!
while [ ! -e cut/checkpoints/step-00000020 ]; do sleep 0.02; done
ip -n a link set va down
wait $one; echo $? > one.txt
wait $other; echo $? > other.txt
cp cut-0.txt first-0.txt; cp cut-1.txt first-1.txt
$UNTIE runs cut > runs.txt
ip -n a link set va up
STEPS=400; both cut || exit 5
STEPS=400; both again || exit 6
";
    let namespaces = ["--net", "--mount"];
    if !is_allowed(&workspace, &namespaces, &(PRELUDE.to_owned() + "ip netns exec a true && ip netns exec b true")) {
        return;
    }
    let output = unshared(&workspace, &namespaces, &(PRELUDE.to_owned() + script)).output().unwrap();
    let text = |name: &str| fs::read_to_string(workspace.path(name)).unwrap_or_default();
    let all =
        ["whole", "cut", "again"].map(|run| text(&format!("{run}-0.txt")) + &text(&format!("{run}-1.txt"))).concat();
    assert!(output.status.success(), "{:?} {}{all}", output.status, stderr(&output));

    // Alone, the same losses.
    let alone = ["train", "--config", "run.toml", "--run-dir", "alone", "--set", "train.precision=fp32", "--set"];
    let alone = workspace.untie(&[&alone[..], &["train.steps=60", "--set", "checkpoint.every=5"]].concat());
    assert!(alone.status.success(), "{}", stderr(&alone));
    let (expected, got) = (metrics(&workspace.path("alone")), metrics(&workspace.path("whole")));
    assert_eq!(expected.len(), 61);
    for (step, values) in &expected {
        for (tag, value) in values.iter().filter(|(tag, _)| tag.ends_with("/loss")) {
            let (value, found) = (value.as_f64().unwrap(), got[step][tag].as_f64().unwrap());
            assert!((found / value - 1.0).abs() < 1e-6, "step {step}: {tag}: {value} {found}");
        }
    }
    // The cable: both ended, with the other named, and what was saved is whole.
    assert_eq!((text("one.txt").trim(), text("other.txt").trim()), ("1", "1"), "{all}");
    assert!(text("runs.txt").contains(" valid\n") && !text("runs.txt").contains("damaged"), "{}", text("runs.txt"));
    let (first, second) = (text("first-0.txt"), text("first-1.txt"));
    assert!(first.contains("rank 1 has sent no heartbeat for "), "{first}");
    assert!(second.contains("rank 0's store at 10.77.0.1:29500 has not answered for "), "{second}");
    // And then as if nothing had happened.
    let (expected, got) = (metrics(&workspace.path("again")), metrics(&workspace.path("cut")));
    assert_eq!(expected.len(), 401);
    assert_eq!(expected, got);
}
