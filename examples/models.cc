// SPDX-License-Identifier: Apache-2.0
//
// Writes two TorchScript models that `streamgate bench` can measure, a multilayer perceptron and a
// transformer encoder, without Python. Their weights are random: only their work is of interest.
// `digits --model-out` leaves a convolutional one.
//
//     models FOLDER
#include <torch/script.h>
#include <torch/torch.h>

#include <cmath>
#include <exception>
#include <filesystem>
#include <iostream>
#include <string>

namespace {

void add_weight(torch::jit::Module& module, const std::string& name, int rows, int columns) {
  module.register_parameter(name, torch::randn({rows, columns}) / std::sqrt(columns), false);
}

/// Of rows of 256 numbers.
torch::jit::Module perceptron() {
  torch::jit::Module module("perceptron");
  add_weight(module, "first", 512, 256);
  add_weight(module, "second", 512, 512);
  add_weight(module, "last", 64, 512);
  module.define(R"(
def forward(self, x):
    x = torch.relu(torch.linear(x, self.first))
    x = torch.relu(torch.linear(x, self.second))
    return torch.linear(x, self.last)
)");
  return module;
}

/// Two layers with four heads, of sequences of vectors of 128 numbers.
torch::jit::Module encoder() {
  torch::jit::Module module("encoder");
  std::string source = "def forward(self, x):\n    b, s = x.size(0), x.size(1)\n";
  for (const std::string layer : {"0", "1"}) {
    for (const std::string name : {"q", "k", "v", "o"}) add_weight(module, name + layer, 128, 128);
    add_weight(module, "up" + layer, 512, 128);
    add_weight(module, "down" + layer, 128, 512);
    for (const std::string name : {"q", "k", "v"}) {
      source += "    " + name + " = torch.linear(x, self." + name + layer +
                ").view(b, s, 4, 32).transpose(1, 2)\n";
    }
    source +=
        "    a = torch.softmax(torch.matmul(q, k.transpose(2, 3)) / 5.657, 3)\n"
        "    a = torch.matmul(a, v).transpose(1, 2).reshape(b, s, 128)\n"
        "    x = torch.layer_norm(x + torch.linear(a, self.o" +
        layer +
        "), [128])\n"
        "    h = torch.relu(torch.linear(x, self.up" +
        layer +
        "))\n"
        "    x = torch.layer_norm(x + torch.linear(h, self.down" +
        layer + "), [128])\n";
  }
  module.define(source + "    return x\n");
  return module;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: models FOLDER\n";
    return 2;
  }
  try {
    torch::manual_seed(1);
    const std::filesystem::path folder = argv[1];
    std::filesystem::create_directories(folder);
    perceptron().save((folder / "mlp.pt").string());
    encoder().save((folder / "encoder.pt").string());
    std::cout << (folder / "mlp.pt").string() << ": --input 32x256\n"
              << (folder / "encoder.pt").string() << ": --input 1x32x128\n";
  } catch (const std::exception& error) {
    std::cerr << "models: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
