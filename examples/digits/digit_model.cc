// SPDX-License-Identifier: Apache-2.0
#include "digit_model.h"

#include "digit_tensors.h"

#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/optim/adam.h>
#include <torch/script.h>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace digits {
namespace {

/// Two convolutions and two linear layers; [digit, 1, 28, 28] to [digit, 10]. 37,610 weights.
struct DigitNet : torch::nn::Module {
  DigitNet() {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("hidden", hidden);
    register_module("output", output);
  }

  torch::Tensor forward(const torch::Tensor& images) {
    torch::Tensor x = torch::max_pool2d(torch::relu(conv1(images)), {2, 2});
    x = torch::max_pool2d(torch::relu(conv2(x)), {2, 2});
    return output(torch::relu(hidden(torch::flatten(x, 1))));
  }

  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(1, 8, 5)};
  torch::nn::Conv2d conv2{torch::nn::Conv2dOptions(8, 16, 5)};
  torch::nn::Linear hidden{torch::nn::LinearOptions(16 * 4 * 4, 128)};
  torch::nn::Linear output{torch::nn::LinearOptions(128, 10)};
};

// DigitNet::forward again, in TorchScript: C++ has no tracer that could derive the one from the
// other. Parameters of submodules stand flat in the script module, with a _ for the dot. The digits
// program compares the two on every test digit, so they cannot drift apart unseen.
constexpr const char* kForwardSource = R"(
def forward(self, images):
    x = torch.max_pool2d(torch.relu(torch.conv2d(images, self.conv1_weight, self.conv1_bias)), [2, 2])
    x = torch.max_pool2d(torch.relu(torch.conv2d(x, self.conv2_weight, self.conv2_bias)), [2, 2])
    x = torch.relu(torch.linear(torch.flatten(x, 1), self.hidden_weight, self.hidden_bias))
    return torch.linear(x, self.output_weight, self.output_bias)
)";

void save_as_torchscript(const DigitNet& net, const std::filesystem::path& model_file) {
  torch::jit::Module script("DigitNet");
  for (const auto& parameter : net.named_parameters()) {
    std::string name = parameter.key();
    std::replace(name.begin(), name.end(), '.', '_');
    // Detached: served weights want no gradients, whatever the client's guards are.
    script.register_parameter(name, parameter.value().detach(), /*is_buffer=*/false);
  }
  // Not asked for by load; but eval(), freeze and Python's torch.jit.load(...) look for it.
  script.register_attribute("training", c10::BoolType::get(), false);
  script.define(kForwardSource);
  try {
    script.save(model_file.string());
  } catch (const c10::Error& error) {
    throw std::runtime_error(model_file.string() +
                             ": cannot write the model there: " + error.what_without_backtrace() +
                             ". Remedy: name a file in a folder that exists, with --model-out");
  }
}

}  // namespace

TrainingReport train_and_save(const Dataset& training, const Dataset& test,
                              const TrainingOptions& options,
                              const std::filesystem::path& model_file,
                              const std::function<void(const TrainingProgress&)>& on_progress) {
  const auto begin = std::chrono::steady_clock::now();
  torch::manual_seed(options.seed);
  DigitNet net;
  torch::optim::Adam optimizer(net.parameters(), torch::optim::AdamOptions(options.learning_rate));
  const torch::Tensor images = images_of(training);
  const torch::Tensor labels = labels_of(training);

  TrainingProgress progress{.epochs = options.epochs,
                            .batches = (training.size() + options.batch - 1) / options.batch};
  for (progress.epoch = 1; progress.epoch <= options.epochs; ++progress.epoch) {
    const auto shuffled = torch::randperm(labels.size(0), torch::kLong)
                              .split(static_cast<std::int64_t>(options.batch));
    // Smaller steps towards the end: steadier from seed to seed than one size throughout.
    const double left = static_cast<double>(options.epochs - progress.epoch + 1) /
                        static_cast<double>(options.epochs);
    for (auto& group : optimizer.param_groups()) {
      static_cast<torch::optim::AdamOptions&>(group.options()).lr(options.learning_rate * left);
    }
    double sum = 0.0;
    for (progress.batch = 1; progress.batch <= shuffled.size(); ++progress.batch) {
      const torch::Tensor& chosen = shuffled[progress.batch - 1];
      optimizer.zero_grad();
      const torch::Tensor loss = torch::nn::functional::cross_entropy(
          net.forward(images.index_select(0, chosen)), labels.index_select(0, chosen));
      loss.backward();
      optimizer.step();
      sum += loss.item<double>();
      progress.loss = sum / static_cast<double>(progress.batch);
      on_progress(progress);
    }
  }

  save_as_torchscript(net, model_file);
  const torch::NoGradGuard no_grad;
  const torch::Tensor answers = net.forward(images_of(test)).argmax(1).contiguous();
  const auto* first = answers.data_ptr<std::int64_t>();
  return {.loss = progress.loss,
          .duration = std::chrono::steady_clock::now() - begin,
          .answers = {first, first + answers.numel()}};
}

}  // namespace digits
