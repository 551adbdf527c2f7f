// Process groups of c10d.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

struct UntieStore {
  c10::intrusive_ptr<c10d::Store> store;
};

struct UntieWorld {
  c10::intrusive_ptr<c10d::Backend> host;   // for tensors in host memory
  c10::intrusive_ptr<c10d::Backend> device; // for the others; the same where there are none

  c10d::Backend &group_of(const at::Tensor &tensor) const { return tensor.is_cpu() ? *host : *device; }
};
