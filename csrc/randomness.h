// Where libtorch's random numbers come from.
#pragma once

#include <ATen/Context.h>

#include <mutex>
#include <vector>

namespace untie {

// Where the generators stand that work on the CPU and on `device` may read.
class Randomness {
public:
  explicit Randomness(at::Device device) {
    take(at::kCPU);
    if (!device.is_cpu()) {
      take(device);
    }
  }
  void restore() const {
    for (const auto &[found, state] : states) {
      at::Generator generator = found;
      const std::lock_guard<std::mutex> lock(generator.mutex());
      generator.set_state(state);
    }
  }

private:
  void take(at::Device device) {
    at::Generator generator = at::globalContext().defaultGenerator(device);
    const std::lock_guard<std::mutex> lock(generator.mutex());
    states.emplace_back(generator, generator.get_state());
  }
  std::vector<std::pair<at::Generator, at::Tensor>> states;
};

} // namespace untie
