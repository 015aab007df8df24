// SPDX-License-Identifier: Apache-2.0
#include "models.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <memory>
#include <stdexcept>

namespace streamgate::testing {
namespace {

struct Linear {
  at::Tensor weight;
  at::Tensor bias;

  Linear(std::int64_t in, std::int64_t out, at::Device device)
      : weight(at::randn({out, in}, device) / std::sqrt(static_cast<double>(in))),
        bias(at::randn({out}, device) * 0.1) {}
  at::Tensor operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

Model mlp(std::string name, std::int64_t layers, std::int64_t width, std::int64_t batch,
          at::Device device) {
  auto all = std::make_shared<std::vector<Linear>>();
  for (std::int64_t i = 0; i < layers; ++i) all->emplace_back(width, width, device);
  return {.name = std::move(name),
          .forward =
              [all](const at::Tensor& input) {
                at::Tensor x = input;
                for (const Linear& layer : *all) x = at::relu(layer(x));
                return x;
              },
          .inputs = {at::randn({batch, width})}};
}

struct EncoderLayer {
  static constexpr std::int64_t kWidth = 512;
  static constexpr std::int64_t kHeads = 8;

  Linear query_key_value;
  Linear out;
  Linear up;
  Linear down;

  explicit EncoderLayer(at::Device device)
      : query_key_value(kWidth, 3 * kWidth, device),
        out(kWidth, kWidth, device),
        up(kWidth, 4 * kWidth, device),
        down(4 * kWidth, kWidth, device) {}

  at::Tensor operator()(const at::Tensor& input) const {
    const std::int64_t batch = input.size(0);
    const std::int64_t length = input.size(1);
    const at::Tensor normal = at::layer_norm(input, {kWidth});
    const std::vector<at::Tensor> parts = query_key_value(normal)
                                              .view({batch, length, 3, kHeads, kWidth / kHeads})
                                              .permute({2, 0, 3, 1, 4})
                                              .unbind(0);
    const at::Tensor seen = at::scaled_dot_product_attention(parts[0], parts[1], parts[2]);
    const at::Tensor x = input + out(seen.transpose(1, 2).reshape({batch, length, kWidth}));
    return x + down(at::gelu(up(at::layer_norm(x, {kWidth}))));
  }
};

Model encoder(at::Device device) {
  auto layers = std::make_shared<std::vector<EncoderLayer>>();
  for (int i = 0; i < 6; ++i) layers->emplace_back(device);
  Model model{.name = "encoder",
              .forward =
                  [layers](const at::Tensor& input) {
                    at::Tensor x = input;
                    for (const EncoderLayer& layer : *layers) x = layer(x);
                    return x;
                  },
              .inputs = {}};
  for (const std::int64_t length : {16, 32, 48, 64, 96, 128, 192, 256}) {
    model.inputs.push_back(at::randn({1, length, EncoderLayer::kWidth}));
  }
  return model;
}

Model cnn(at::Device device) {
  struct Weights {
    std::vector<at::Tensor> filters;
    Linear head;
  };
  auto weights = std::make_shared<Weights>(Weights{{}, Linear(256 * 4 * 4, 10, device)});
  const std::int64_t channels[] = {3, 64, 128, 256};
  for (int i = 0; i < 3; ++i) {
    weights->filters.push_back(at::randn({channels[i + 1], channels[i], 3, 3}, device) /
                               std::sqrt(9.0 * static_cast<double>(channels[i])));
  }
  return {.name = "cnn",
          .forward =
              [weights](const at::Tensor& input) {
                at::Tensor x = input;
                for (const at::Tensor& filter : weights->filters) {
                  x = at::max_pool2d(at::relu(at::conv2d(x, filter, {}, 1, 1)), 2);
                }
                return weights->head(x.flatten(1));
              },
          .inputs = {at::randn({8, 3, 32, 32})}};
}

}  // namespace

Model make_model(std::string_view name, at::Device device) {
  const at::NoGradGuard no_grad;
  if (name == "mlp6x256") return mlp("mlp6x256", 6, 256, 32, device);
  if (name == "mlp12x1024") return mlp("mlp12x1024", 12, 1024, 8, device);
  if (name == "encoder") return encoder(device);
  if (name == "cnn") return cnn(device);
  throw std::invalid_argument("no model " + std::string(name));
}

}  // namespace streamgate::testing
