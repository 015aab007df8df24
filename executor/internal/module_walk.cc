// SPDX-License-Identifier: Apache-2.0
//
// The walk follows code, not execution: a branch that is never taken counts like any other, since a
// class must hold for every input.
#include <streamgate/executor/internal/module_walk.h>

#include <ATen/core/function.h>
#include <ATen/core/function_schema.h>
#include <ATen/core/jit_type.h>
#include <torch/csrc/jit/api/function_impl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/ir.h>

#include <algorithm>
#include <set>

namespace streamgate::executor {
namespace {

namespace jit = torch::jit;

bool holds_tensor(const c10::Type& type) {
  if (type.kind() == c10::TypeKind::TensorType) return true;
  const auto contained = type.containedTypes();
  return std::any_of(contained.begin(), contained.end(),
                     [](const auto& inner) { return holds_tensor(*inner); });
}

/// Whether the operation may do something on a device. Numbers, texts and lists of whatever they
/// hold are the interpreter's, on the host: aten::add.int is no aten::add.Tensor.
bool concerns_tensors(const c10::FunctionSchema& schema) {
  const auto tensor = [](const c10::Argument& argument) { return holds_tensor(*argument.type()); };
  return std::any_of(schema.arguments().begin(), schema.arguments().end(), tensor) ||
         std::any_of(schema.returns().begin(), schema.returns().end(), tensor);
}

class Walk {
 public:
  void function(jit::Function& function) {
    if (jit::GraphFunction* const graph = jit::tryToGraphFunction(function)) {
      graph->ensure_defined();
      block(*graph->graph()->block());
    } else {
      count(function.qualname().qualifiedName());
    }
  }

  OperationCounts take() { return std::move(counts_); }
  [[nodiscard]] bool assigns() const noexcept { return assigns_; }

 private:
  void count(std::string name) { ++counts_[std::move(name)]; }

  /// What is called from several places is looked at in one; this also ends recursion.
  void called(jit::Function& callee) {
    if (called_.insert(&callee).second) function(callee);
  }

  void block(const jit::Block& block) {
    for (const jit::Node* const node : block.nodes()) this->node(*node);
  }

  void node(const jit::Node& node) {
    for (const jit::Block* const inner : node.blocks()) block(*inner);
    for (const auto attribute : node.attributeNames()) {
      if (node.kindOf(attribute) == jit::AttributeKind::g) {
        block(*node.g(attribute)->block());
      } else if (node.kindOf(attribute) == jit::AttributeKind::gs) {
        for (const auto& graph : node.gs(attribute)) block(*graph->block());
      }
    }
    if (node.kind() == c10::prim::SetAttr) assigns_ = true;
    if (node.kind() == c10::prim::CallFunction) {
      if (const auto type = node.input(0)->type()->cast<c10::FunctionType>()) {
        called(*type->function());
      } else {
        count("prim::CallFunction");
      }
    } else if (node.kind() == c10::prim::CallMethod) {
      call_method(node);
    } else if (node.kind() == c10::prim::PythonOp) {
      count("prim::PythonOp");
    } else if (const c10::FunctionSchema* const schema = node.maybeSchema()) {
      if (node.kind().is_prim() || !concerns_tensors(*schema)) return;
      const std::string& overload = schema->overload_name();
      count(schema->name() + (overload.empty() ? "" : "." + overload));
    } else if (!node.kind().is_prim()) {
      count(node.kind().toQualString());
    }
  }

  void call_method(const jit::Node& node) {
    const auto& type = node.input(0)->type();
    // A module's methods are looked at with the module, which is one of those that are walked; so
    // is whatever implements an interface of modules.
    if (const auto interface = type->cast<c10::InterfaceType>()) {
      if (!interface->is_module()) count("prim::CallMethod");
      return;
    }
    const auto class_type = type->cast<c10::ClassType>();
    if (class_type == nullptr) return count("prim::CallMethod");
    if (class_type->is_module()) return;
    jit::Function* const method = class_type->findMethod(node.s(c10::attr::name));
    if (method == nullptr) return count("prim::CallMethod");
    called(*method);
  }

  OperationCounts counts_;
  bool assigns_ = false;
  std::set<const jit::Function*> called_;
};

Walk walked(const torch::jit::Module& module) {
  Walk walk;
  for (const jit::Module& part : module.modules()) {
    for (const jit::Method& method : part.get_methods()) walk.function(method.function());
    for (jit::Function* const hook : part.type()->getForwardPreHooks()) walk.function(*hook);
    for (jit::Function* const hook : part.type()->getForwardHooks()) walk.function(*hook);
  }
  return walk;
}

}  // namespace

OperationCounts walk_module(const torch::jit::Module& module) { return walked(module).take(); }

bool assigns_attributes(const torch::jit::Module& module) { return walked(module).assigns(); }

}  // namespace streamgate::executor
