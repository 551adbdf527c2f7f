// Weights as the products of a GPU read them, and their gradients.
#pragma once

#include "../fused/weights.h"
#include "kernels.h"

namespace untie {
namespace device {

// A float weight in the precision of the activations, made when it is first read and remade when the weight has changed since. All
// layers that read the weight share it, and AdamW's kernel writes it.
class NarrowWeight final : public PackedCopy {
public:
  NarrowWeight(at::Tensor weight, at::ScalarType of) : precision(of), master(std::move(weight)) {}

  static std::shared_ptr<NarrowWeight> of(const at::Tensor &weight, at::ScalarType kind);
  // The copy that is up to date; null: none.
  static std::shared_ptr<NarrowWeight> fresh(const at::Tensor &weight);

  const at::Tensor &get() {
    if (!is_fresh()) {
      narrow = narrow.defined() ? narrow : at::empty_like(master, precision);
      narrow.copy_(master);
      version = master._version();
    }
    return narrow;
  }
  at::ScalarType kind() const { return precision; }
  int64_t bytes() const { return narrow.defined() ? static_cast<int64_t>(narrow.nbytes()) : 0; }
  uint16_t *elements() const { return static_cast<uint16_t *>(narrow.data_ptr()); }

  void refresh(int64_t first, int64_t rows) override {
    if (narrow.defined()) {
      narrow.narrow(0, first, rows).copy_(master.narrow(0, first, rows));
    }
  }
  void refreshed() override { version = narrow.defined() ? master._version() : NONE; }

private:
  static constexpr int64_t NONE = -1;
  bool is_fresh() const { return version == master._version(); }
  at::ScalarType precision;
  at::Tensor master, narrow;
  int64_t version = NONE;
};

// A weight, the leaf behind it (a probed layer reads aliases, whose gradients are its own), and its narrow copy.
class Weight {
public:
  Weight() = default;
  Weight(at::Tensor given, at::ScalarType kind)
      : part(std::move(given)), leaf(leaf_of(part)), copy(NarrowWeight::of(leaf, kind)) {}

  // For products.
  const at::Tensor &narrow() const { return copy->get(); }
  // For LayerNorm and sums.
  const at::Tensor &wide() const { return leaf; }
  // Of the leaf and, where the layer is probed, of the alias; made if there is none.
  Gradients gradients() const;
  int64_t bytes() const { return copy->bytes(); }

private:
  static at::Tensor leaf_of(const at::Tensor &part) {
    at::Tensor leaf = part;
    if (part.is_view()) {
      leaf = part._base();
    }
    if (leaf.sizes() != part.sizes() || leaf.data_ptr() != part.data_ptr()) {
      throw std::runtime_error("expected a whole weight or an alias of one, got a part of one");
    }
    return leaf;
  }
  at::Tensor part, leaf;
  std::shared_ptr<NarrowWeight> copy;
};

// Adds d_yᵀ·x to each of `gradients`, float [out, in], in float; d_y [rows, out], x [rows, in].
void add_product(const Gradients &gradients, const at::Tensor &d_y, const at::Tensor &x);

} // namespace device
} // namespace untie
