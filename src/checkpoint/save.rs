//! State, weights and moments in, one more checkpoint on disk; and the oldest ones gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tch::{Device, Tensor};

use super::checksums::{Checksums, FileChecksum, HashingWriter};
use super::folder::{folder, list, scan, sync, Role, LATEST_FILE};
use super::{
    tensors, CheckpointConfig, RunState, CHECKSUMS_FILE, MODEL_FILE, MOMENTS, OPTIMIZER_FILE, REMEMBERED_FILE,
    STATE_FILE,
};
use crate::error::{io as io_error, Error, Result};
use crate::layer_map::LayerMap;
use crate::model::weights::specs;
use crate::model::{Weight, Weights};
use crate::optim::Moments;

/// Saves a run at `state.step`, points `latest` to it, and removes what `keep` no longer wants. Returns its folder.
///
/// A checkpoint of the same step is replaced. One of a later step, which a run that went back leaves, stays.
///
/// # Errors
/// When a file cannot be written; the earlier checkpoints and `latest` are then as they were.
pub fn save(
    run_dir: &Path,
    state: &RunState,
    weights: &Weights,
    moments: &Moments,
    remembered: Option<&Weights>,
    keep: &CheckpointConfig,
) -> Result<PathBuf> {
    Snapshot::new(state, weights, moments, remembered)?.save(run_dir, keep)
}

/// What a checkpoint holds, ready to be written.
#[derive(Debug)]
pub(super) struct Snapshot {
    step: u64,
    state: Vec<u8>,
    model: Vec<(String, Tensor)>,
    optimizer: Vec<(String, Tensor)>,
    remembered: Option<Vec<(String, Tensor)>>,
}

impl Snapshot {
    /// Shares the storage of the tensors: see [`Self::copied`].
    pub(super) fn new(
        state: &RunState,
        weights: &Weights,
        moments: &Moments,
        remembered: Option<&Weights>,
    ) -> Result<Self> {
        check(state, weights, moments, remembered)?;
        let entries = weights.entries();
        let values = |weights: &Weights| {
            let named = |weight: &Weight| (weight.spec.name.clone(), weight.in_file(&weight.tensor.detach()));
            weights.entries().iter().map(named).collect::<Vec<_>>()
        };
        let (model, remembered) = (values(weights), remembered.map(values));
        let mut optimizer = Vec::with_capacity(2 * entries.len());
        for (prefix, all) in MOMENTS.into_iter().zip([&moments.exp_avg, &moments.exp_avg_sq]) {
            let named = |(weight, moment): (&Weight, &Tensor)| {
                (format!("{prefix}{}", weight.spec.name), weight.in_file(&moment.detach()))
            };
            optimizer.extend(entries.iter().zip(all).map(named));
        }
        Ok(Self { step: state.step, state: state.to_json()?, model, optimizer, remembered })
    }

    /// The same in memory of its own on the host, which training does not change.
    pub(super) fn copied(&self) -> Result<Self> {
        let copies = |tensors: &[(String, Tensor)]| -> Result<Vec<(String, Tensor)>> {
            let copy = |(name, tensor): &(String, Tensor)| {
                let mut copy = Tensor::f_empty(tensor.size(), (tensor.f_kind()?, Device::Cpu))?;
                copy.f_copy_(tensor)?;
                Ok((name.clone(), copy))
            };
            tensors.iter().map(copy).collect()
        };
        let (model, optimizer) = (copies(&self.model)?, copies(&self.optimizer)?);
        let remembered = self.remembered.as_deref().map(copies).transpose()?;
        Ok(Self { step: self.step, state: self.state.clone(), model, optimizer, remembered })
    }

    /// As [`save`].
    pub(super) fn save(&self, run_dir: &Path, keep: &CheckpointConfig) -> Result<PathBuf> {
        let folder = folder(run_dir);
        // Not the run's folder itself: where that is gone its disk is, and another one must not get what belongs there.
        match fs::create_dir(&folder) {
            Err(error) if !folder.is_dir() => return Err(io_error("create", &folder, error)),
            _ => sync(run_dir)?,
        }
        clear(&folder)?;
        let partial = folder.join(Role::Partial.name(self.step));
        if let Err(error) = self.write(&partial) {
            // What is left of it would only take room on what may be a full disk; the next save clears it otherwise.
            let _ = fs::remove_dir_all(&partial);
            return Err(error);
        }
        let target = publish(&folder, self.step)?;
        retain(run_dir, self.step, keep)?;
        Ok(target)
    }

    /// Writes every file of a checkpoint into `partial`, the checksums last, and syncs it.
    fn write(&self, partial: &Path) -> Result<()> {
        fs::create_dir(partial).map_err(|error| io_error("create", partial, error))?;
        let mut checksums = BTreeMap::new();
        let remembered = self.remembered.iter().map(|tensors| (REMEMBERED_FILE, tensors));
        let files = [(MODEL_FILE, &self.model), (OPTIMIZER_FILE, &self.optimizer)].into_iter().chain(remembered);
        for (name, tensors) in files {
            let checksum = write_file(&partial.join(name), |writer, path| tensors::write(writer, path, tensors))?;
            checksums.insert(name.to_owned(), checksum);
        }
        checksums.insert(STATE_FILE.to_owned(), write_bytes(&partial.join(STATE_FILE), &self.state)?);
        write_bytes(&partial.join(CHECKSUMS_FILE), &Checksums::new(checksums)?.to_json()?)?;
        sync(partial)
    }
}

/// Refuses what could be written but not be loaded again.
fn check(state: &RunState, weights: &Weights, moments: &Moments, remembered: Option<&Weights>) -> Result<()> {
    let refuse = |what: String| Err(Error::failed(format!("cannot save step {}: {what}", state.step)));
    if state.num_updates != moments.num_updates {
        return refuse(format!("expected {} updates of the moments, got {}", state.num_updates, moments.num_updates));
    }
    let entries = weights.entries();
    let are_of = |weights: &Weights, map: &LayerMap| {
        let found = weights.entries().iter().map(|at| (&at.spec.name, &at.spec.shape));
        specs(&state.bert, map).iter().map(|spec| (&spec.name, &spec.shape)).eq(found)
    };
    if !are_of(weights, &state.layer_map) {
        return refuse("the weights are not those of its layer map".into());
    }
    let fits = match (&state.remembered, remembered) {
        (Some(map), Some(weights)) => are_of(weights, map),
        (None, None) => true,
        _ => false,
    };
    if !fits {
        return refuse("the remembered weights are not those of their layer map".into());
    }
    for all in [&moments.exp_avg, &moments.exp_avg_sq] {
        if !all.iter().map(Tensor::size).eq(entries.iter().map(|weight| weight.tensor.size())) {
            return refuse("the moments do not have the shapes of the weights".into());
        }
    }
    Ok(())
}

/// Removes what earlier crashes left, and gives an old checkpoint its name back if its successor never got it.
fn clear(folder: &Path) -> Result<()> {
    for (role, entry) in scan(folder)? {
        let complete = folder.join(Role::Complete.name(entry.step));
        match role {
            Role::Complete => {}
            Role::Replaced if !complete.exists() => rename(&entry.path, &complete)?,
            Role::Partial | Role::Replaced | Role::Removed => remove(&entry.path)?,
        }
    }
    Ok(())
}

/// Creates a file, lets `fill` write it, syncs it, and returns its size and hash.
fn write_file(path: &Path, fill: impl FnOnce(&mut dyn Write, &Path) -> Result<()>) -> Result<FileChecksum> {
    let failed = |error| io_error("write", path, error);
    let mut writer = HashingWriter::new(BufWriter::with_capacity(1 << 20, File::create(path).map_err(failed)?));
    fill(&mut writer, path)?;
    let (buffered, checksum) = writer.finish();
    let file = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(checksum)
}

fn write_bytes(path: &Path, bytes: &[u8]) -> Result<FileChecksum> {
    write_file(path, |writer, path| writer.write_all(bytes).map_err(|error| io_error("write", path, error)))
}

/// Gives the partial checkpoint of `step` its name, and names it in `latest`.
fn publish(folder: &Path, step: u64) -> Result<PathBuf> {
    let [target, partial, replaced] =
        [Role::Complete, Role::Partial, Role::Replaced].map(|role| folder.join(role.name(step)));
    let replaces = target.exists();
    if replaces {
        rename(&target, &replaced)?;
    }
    rename(&partial, &target)?;
    sync(folder)?;
    name_latest(folder, step)?;
    if replaces {
        remove(&replaced)?;
    }
    Ok(target)
}

/// Names the checkpoint of `step` in `latest`.
pub(super) fn name_latest(folder: &Path, step: u64) -> Result<()> {
    let aside = folder.join(format!(".{LATEST_FILE}.partial"));
    write_bytes(&aside, format!("{}\n", Role::Complete.name(step)).as_bytes())?;
    rename(&aside, &folder.join(LATEST_FILE))?;
    sync(folder)
}

/// Removes every checkpoint before `step` that is neither among the newest nor one to keep for good.
fn retain(run_dir: &Path, step: u64, keep: &CheckpointConfig) -> Result<()> {
    let folder = folder(run_dir);
    let older = list(run_dir)?.into_iter().filter(|entry| entry.step < step);
    for entry in older.skip(keep.keep_last.saturating_sub(1)).filter(|entry| !keep.keeps_for_good(entry.step)) {
        // Under another name first: half removed, it must not pass for a checkpoint.
        let removed = folder.join(Role::Removed.name(entry.step));
        rename(&entry.path, &removed)?;
        sync(&folder)?;
        remove(&removed)?;
    }
    Ok(())
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|error| io_error("rename", from, error))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_dir_all(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(io_error("remove", path, error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for `left` bytes.
    struct FullDisk {
        left: usize,
    }

    impl Write for FullDisk {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let taken = buffer.len().min(self.left);
            self.left -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_one_error_with_the_file_and_a_hint() {
        let all = [("weight".to_owned(), Tensor::from_slice(&[1.0_f32, 2.0]))];
        let path = Path::new("model.safetensors");
        let mut whole = Vec::new();
        tensors::write(&mut whole, path, &all).unwrap();
        for left in 0..whole.len() {
            let report = tensors::write(FullDisk { left }, path, &all).unwrap_err().report();
            assert!(report.starts_with("error: cannot write `model.safetensors`: "), "{report}");
            assert!(report.contains("\nhint: free some space"), "{report}");
        }
    }
}
