// SPDX-License-Identifier: Apache-2.0
//
// Two models of the kinds that a service runs, small: a transformer encoder-decoder and a
// convolutional vocoder. Plain functions over plain weights, without TorchScript; their answers are
// only compared with themselves.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

namespace streamgate::testing {

/// A weight matrix and a bias, from libtorch's generator.
struct Affine {
  Affine(std::int64_t in, std::int64_t out)
      : weight(at::randn({out, in}) / std::sqrt(static_cast<double>(in))), bias(at::randn({out})) {}
  [[nodiscard]] at::Tensor operator()(const at::Tensor& x) const {
    return at::linear(x, weight, bias);
  }
  at::Tensor weight;
  at::Tensor bias;
};

/// Two encoder and two decoder layers, width 64, 4 heads.
class Transformer {
 public:
  /// `source` and `target`: [batch, length, 64]. Returns [batch, target length, 100].
  [[nodiscard]] at::Tensor forward(const at::Tensor& source, const at::Tensor& target) const {
    at::Tensor memory = source;
    for (const Layer& layer : encoder_) {
      memory = normalised(memory + layer.self.forward(memory, memory));
      memory = normalised(memory + layer.feed_forward(memory));
    }
    at::Tensor x = target;
    for (const Layer& layer : decoder_) {
      x = normalised(x + layer.self.forward(x, x));
      x = normalised(x + layer.across.forward(x, memory));
      x = normalised(x + layer.feed_forward(x));
    }
    return at::log_softmax(vocabulary_(x), -1);
  }

 private:
  static constexpr std::int64_t kWidth = 64;
  static constexpr std::int64_t kHeads = 4;

  static at::Tensor normalised(const at::Tensor& x) { return at::layer_norm(x, {kWidth}); }

  struct Attention {
    Affine query{kWidth, kWidth};
    Affine key{kWidth, kWidth};
    Affine value{kWidth, kWidth};
    Affine out{kWidth, kWidth};

    /// [batch, length, width] to [batch * heads, length, width / heads].
    static at::Tensor split(const at::Tensor& x) {
      return x.reshape({x.size(0), x.size(1), kHeads, kWidth / kHeads})
          .transpose(1, 2)
          .reshape({x.size(0) * kHeads, x.size(1), kWidth / kHeads});
    }
    [[nodiscard]] at::Tensor forward(const at::Tensor& x, const at::Tensor& memory) const {
      const double scale = 1 / std::sqrt(static_cast<double>(kWidth / kHeads));
      const at::Tensor scores = at::bmm(split(query(x)), split(key(memory)).transpose(1, 2));
      const at::Tensor mixed = at::bmm(at::softmax(scores * scale, -1), split(value(memory)));
      return out(mixed.reshape({x.size(0), kHeads, x.size(1), kWidth / kHeads})
                     .transpose(1, 2)
                     .reshape({x.size(0), x.size(1), kWidth}));
    }
  };
  struct Layer {
    Attention self;
    Attention across;
    Affine up{kWidth, 2 * kWidth};
    Affine down{2 * kWidth, kWidth};
    [[nodiscard]] at::Tensor feed_forward(const at::Tensor& x) const {
      return down(at::gelu(up(x)));
    }
  };
  std::vector<Layer> encoder_ = std::vector<Layer>(2);
  std::vector<Layer> decoder_ = std::vector<Layer>(2);
  Affine vocabulary_{kWidth, 100};
};

/// From 20 bands to a waveform 16 times as long: two upsamplings, each with a residual block.
class Vocoder {
 public:
  /// [batch, 20, frames] to [batch, 1, 16 * frames].
  [[nodiscard]] at::Tensor forward(const at::Tensor& bands) const {
    at::Tensor x = at::conv1d(bands, first_, {}, 1, 3);
    for (const auto& [up, residual] : stages_) {
      x = at::conv_transpose1d(at::leaky_relu(x, 0.1), up, {}, 4, 2);
      x = x + at::conv1d(at::leaky_relu(x, 0.1), residual, {}, 1, 3, 3);
    }
    return at::tanh(at::conv1d(at::leaky_relu(x, 0.1), last_, {}, 1, 3));
  }

 private:
  static at::Tensor kernel(std::int64_t a, std::int64_t b, std::int64_t size) {
    return at::randn({a, b, size}) / std::sqrt(static_cast<double>(b * size));
  }
  at::Tensor first_ = kernel(32, 20, 7);
  std::vector<std::pair<at::Tensor, at::Tensor>> stages_{{kernel(32, 16, 8), kernel(16, 16, 3)},
                                                         {kernel(16, 8, 8), kernel(8, 8, 3)}};
  at::Tensor last_ = kernel(1, 8, 7);
};

}  // namespace streamgate::testing
