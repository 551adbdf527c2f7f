//! c10d: a store that processes meet at, process groups, and gradients that are summed over them.

use std::ffi::{c_char, c_void, CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use super::ffi::{
    check, pointers, untie_all_reduce, untie_broadcast, untie_reducer_finish, untie_reducer_free, untie_reducer_mark,
    untie_reducer_new, untie_store_add, untie_store_clone, untie_store_free, untie_store_get, untie_store_new,
    untie_store_set, untie_world_free, untie_world_new,
};
use crate::error::{Error, Result};

fn text(words: &str) -> Result<CString> {
    CString::new(words).map_err(|_| Error::failed(format!("expected text without a zero byte, got {words:?}")))
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn not_null(pointer: *mut c_void) -> Result<NonNull<c_void>> {
    NonNull::new(pointer).ok_or_else(|| Error::failed("libtorch gave no object"))
}

/// A connection to a TCPStore, PyTorch's table of keys that processes share.
#[derive(Debug)]
pub struct Store(NonNull<c_void>);

// SAFETY: c10d's store locks each of its operations.
unsafe impl Send for Store {}
unsafe impl Sync for Store {}

impl Store {
    /// Connects to the store at `host`:`port`, which this process serves from now on or another one; `prefix` goes before
    /// every key. Waits for the server for up to `timeout`, also in every operation.
    ///
    /// # Errors
    /// When nobody serves in time, and a port that is taken.
    pub fn connect(host: &str, port: u16, serves: bool, timeout: Duration, prefix: &str) -> Result<Self> {
        let (host, prefix) = (text(host)?, text(prefix)?);
        let mut store = std::ptr::null_mut();
        // SAFETY: terminated strings that live through the call; C++ fills the pointer or fails.
        check(unsafe {
            untie_store_new(host.as_ptr(), port, serves, milliseconds(timeout), prefix.as_ptr(), &raw mut store)
        })?;
        Ok(Self(not_null(store)?))
    }

    /// Another connection to the same store, for another thread: operations of one wait for each other.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn another(&self) -> Result<Self> {
        let mut store = std::ptr::null_mut();
        // SAFETY: the handle is alive; C++ fills the pointer or fails.
        check(unsafe { untie_store_clone(self.0.as_ptr(), &raw mut store) })?;
        Ok(Self(not_null(store)?))
    }

    /// Adds `number` to the counter `key`, which starts at 0; the sum.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn add(&self, key: &str, number: i64) -> Result<i64> {
        let key = text(key)?;
        let mut sum = 0;
        // SAFETY: the handle is alive, a terminated string and a number that live through the call.
        check(unsafe { untie_store_add(self.0.as_ptr(), key.as_ptr(), number, &raw mut sum) })?;
        Ok(sum)
    }

    /// Puts `words` under `key`.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn set(&self, key: &str, words: &str) -> Result<()> {
        let (key, words) = (text(key)?, text(words)?);
        // SAFETY: the handle is alive, terminated strings that live through the call.
        check(unsafe { untie_store_set(self.0.as_ptr(), key.as_ptr(), words.as_ptr()) })
    }

    /// What is under `key`, its first 1,023 bytes; `None` where nothing is.
    ///
    /// # Errors
    /// A server that is gone.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let key = text(key)?;
        let mut buffer = [0 as c_char; 1024];
        let mut found = false;
        // SAFETY: the handle is alive, the buffer outlives the call and its length is passed; C++ terminates what it writes.
        unsafe {
            check(untie_store_get(self.0.as_ptr(), key.as_ptr(), buffer.as_mut_ptr(), buffer.len(), &raw mut found))?;
            Ok(found.then(|| CStr::from_ptr(buffer.as_ptr()).to_string_lossy().into_owned()))
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again.
        unsafe { untie_store_free(self.0.as_ptr()) }
    }
}

/// What carries tensors of the device; those of the host always go by Gloo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// TCP, tensors in host memory.
    Gloo,
    /// NVIDIA's, tensors on this process's CUDA device of that number.
    Nccl(usize),
}

/// The process groups of one process among `size`. Every process makes the same calls in the same order.
#[derive(Debug)]
pub struct ProcessGroups(NonNull<c_void>);

impl ProcessGroups {
    /// Meets the other processes at `store`. A collective that is not done after `timeout` fails. Gloo listens at `address` of
    /// this host, or at the network interface `interface` where that is not empty.
    ///
    /// # Errors
    /// Processes that do not come in time, and a program without NCCL where that is asked for.
    pub fn meet(
        store: &Store,
        rank: usize,
        size: usize,
        timeout: Duration,
        (address, interface): (&str, &str),
        backend: Backend,
    ) -> Result<Self> {
        let (address, interface) = (text(address)?, text(interface)?);
        let number = |value: usize| i32::try_from(value).map_err(|_| Error::failed(format!("{value} is too large")));
        let (rank, size) = (number(rank)?, number(size)?);
        let device = match backend {
            Backend::Gloo => -1,
            Backend::Nccl(index) => number(index)?,
        };
        let mut world = std::ptr::null_mut();
        // SAFETY: the store is alive, a terminated string that lives through the call; C++ fills the pointer or fails.
        check(unsafe {
            untie_world_new(
                store.0.as_ptr(),
                rank,
                size,
                milliseconds(timeout),
                address.as_ptr(),
                interface.as_ptr(),
                device,
                &raw mut world,
            )
        })?;
        Ok(Self(not_null(world)?))
    }

    /// Sums `tensor` over the processes, in place, or takes the `largest` value of each element.
    ///
    /// # Errors
    /// A tensor that is not contiguous, a process that is gone or does not come in time.
    pub fn all_reduce(&self, tensor: &Tensor, largest: bool) -> Result<()> {
        let tensor = contiguous(tensor)?;
        // SAFETY: both are alive through the call, which waits until the tensor is written.
        check(unsafe { untie_all_reduce(self.0.as_ptr(), tensor.as_ptr(), largest) })
    }

    /// Overwrites `tensor` with that of rank 0.
    ///
    /// # Errors
    /// As [`Self::all_reduce`].
    pub fn broadcast(&self, tensor: &Tensor) -> Result<()> {
        let tensor = contiguous(tensor)?;
        // SAFETY: both are alive through the call, which waits until the tensor is written.
        check(unsafe { untie_broadcast(self.0.as_ptr(), tensor.as_ptr()) })
    }
}

impl Drop for ProcessGroups {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again; reducers hold the groups themselves.
        unsafe { untie_world_free(self.0.as_ptr()) }
    }
}

/// Without a graph: what is written in place must not be a leaf that takes a gradient.
fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    let tensor = tensor.detach();
    match tensor.defined() && tensor.is_contiguous() {
        true => Ok(tensor),
        false => Err(Error::failed("expected a contiguous tensor")),
    }
}

/// Leaves whose gradients are summed together.
#[derive(Debug)]
pub struct Bucket<'a> {
    /// The place in the model's walk that the backward has their gradients finished at: see [`GradientReducer::mark`]; −1: its
    /// end.
    pub place: i64,
    /// The leaves, of one precision and device.
    pub leaves: Vec<&'a Tensor>,
}

/// Sums gradients over the processes, in place, while the backward goes on; with the last of them the processes tell each other
/// numbers.
#[derive(Debug)]
pub struct GradientReducer {
    handle: NonNull<c_void>,
    /// That of the last bucket.
    device: Device,
    num_values: usize,
}

impl GradientReducer {
    /// For `buckets`, from the highest place to the lowest. Their leaves get new gradients of zeros, parts of one tensor a
    /// bucket. `narrow`: gradients that travel are rounded to bf16. With the last bucket travel `num_values` numbers of each
    /// process.
    ///
    /// # Errors
    /// No buckets, leaves of several precisions or devices in a bucket, and memory that cannot be had.
    pub fn new(groups: &ProcessGroups, buckets: &[Bucket<'_>], narrow: bool, num_values: usize) -> Result<Self> {
        let none = || Error::failed("expected buckets of gradients, got none");
        let last = buckets.last().and_then(|bucket| bucket.leaves.last()).ok_or_else(none)?;
        let kind_of = |leaf: &Tensor| -> (Kind, Device) { (leaf.kind(), leaf.device()) };
        for bucket in buckets {
            let fits = |leaf: &&Tensor| {
                leaf.defined()
                    && leaf.requires_grad()
                    && leaf.is_leaf()
                    && leaf.is_contiguous()
                    && kind_of(leaf) == kind_of(bucket.leaves[0])
            };
            if bucket.leaves.is_empty() || !bucket.leaves.iter().all(fits) {
                return Err(Error::failed("expected contiguous leaves of one precision on one device"));
            }
        }
        let sizes: Vec<usize> = buckets.iter().map(|bucket| bucket.leaves.len()).collect();
        let places: Vec<i64> = buckets.iter().map(|bucket| bucket.place).collect();
        let leaves = pointers(buckets.iter().flat_map(|bucket| bucket.leaves.iter().copied()));
        let mut reducer = std::ptr::null_mut();
        // SAFETY: lists of the lengths that are passed, of defined leaves, which live through the call.
        check(unsafe {
            untie_reducer_new(
                groups.0.as_ptr(),
                narrow,
                num_values,
                sizes.len(),
                sizes.as_ptr(),
                places.as_ptr(),
                leaves.as_ptr(),
                &raw mut reducer,
            )
        })?;
        Ok(Self { handle: not_null(reducer)?, device: last.device(), num_values })
    }

    /// Says that a backward which has the gradient of `hidden` has finished all buckets whose place is at least `place`: from
    /// there on they travel, but for the last bucket. For the last backward of a step only.
    ///
    /// # Errors
    /// libtorch's own.
    pub fn mark(&self, hidden: &Tensor, place: usize) -> Result<()> {
        let place = i64::try_from(place).map_err(|_| Error::failed(format!("{place} is too large")))?;
        // SAFETY: both are alive through the call; the hook shares what it uses.
        check(unsafe { untie_reducer_mark(self.handle.as_ptr(), hidden.as_ptr(), place) })
    }

    /// After the last backward of a step: sends what has not been sent, with the `values` of this process, fp64 `[num_values]` on
    /// the leaves' device. Returns those of all processes, fp64 `[processes, num_values]` there, bit for bit. On CUDA the host
    /// does not wait for the device.
    ///
    /// # Errors
    /// Other `values`, a process that is gone or does not come in time.
    pub fn finish(&self, values: &Tensor) -> Result<Tensor> {
        let values = contiguous(values)?;
        let found = (values.kind(), values.device(), values.size());
        let expected = (Kind::Double, self.device, vec![self.num_values as i64]);
        if found != expected {
            return Err(Error::failed(format!("values of a process: expected {expected:?}, got {found:?}")));
        }
        let mut rows = std::ptr::null_mut();
        // SAFETY: the handle is alive, and so is the tensor, checked above, through the call; C++ makes a tensor or fails.
        check(unsafe { untie_reducer_finish(self.handle.as_ptr(), values.as_ptr(), &raw mut rows) })?;
        // SAFETY: made for us above.
        Ok(unsafe { Tensor::from_ptr(rows) })
    }
}

impl Drop for GradientReducer {
    fn drop(&mut self) {
        // SAFETY: the handle is not used again; hooks share what they use.
        unsafe { untie_reducer_free(self.handle.as_ptr()) }
    }
}
