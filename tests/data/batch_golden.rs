//! The order and the masks of a run with the default settings never change: a run that was begun with an older version
//! goes on with the same batches. The hashes are of the batches that the code before objectives, packing and mixing made.

use crate::batch_common::{config, vocabulary, write_shard, write_vocabulary, Rng};
use untie::batch::{Batch, Samples};
use untie_data::shard::Split;
use xxhash_rust::xxh3::xxh3_64;

fn hash(batch: &Batch) -> u64 {
    let numbers = batch.token_ids.iter().chain(&batch.positions).chain(&batch.labels);
    let mut bytes: Vec<u8> = numbers.flat_map(|number| number.to_le_bytes()).collect();
    bytes.extend(batch.weights.iter().flat_map(|weight| weight.to_le_bytes()));
    bytes.extend((batch.num_targets as u64).to_le_bytes());
    xxh3_64(&bytes)
}

#[test]
fn default_batches_are_those_of_older_versions() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(1);
    write_vocabulary(dir.path());
    write_shard(&dir.path().join("train-00000"), &rng.documents(40, 8, 30));
    write_shard(&dir.path().join("train-00001"), &rng.documents(60, 8, 30));
    write_shard(&dir.path().join("valid-00000"), &rng.documents(10, 8, 30));
    let mut found = Vec::new();
    for (length, seed) in [(16, 1), (64, 0xdead_beef_0000_0007)] {
        let config = config(dir.path(), length);
        let open = |split| Samples::open(&config, &vocabulary(&config), split, seed).unwrap();
        let (train, valid) = (open(Split::Train), open(Split::Valid));
        // Two epochs and a part of the third.
        let count = train.num_samples() as usize * 5 / 2;
        found.push((train.num_samples(), train.capacity(), hash(&train.batch(0, count).unwrap())));
        found.push((valid.num_samples(), valid.capacity(), hash(&valid.spread(0, 8, 8).unwrap())));
    }
    let expected = [
        (545, 2, 0x602c_aa9e_7ad7_3797),
        (43, 2, 0x06c7_e411_083c_dbbc),
        (123, 9, 0xeb3c_13ae_ee5c_f9cc),
        (9, 9, 0xb131_5986_f130_3afc),
    ];
    assert_eq!(found, expected);
}
