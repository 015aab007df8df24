// SPDX-License-Identifier: Apache-2.0
//
// Reads the TOML. Streamgate's own reader is not installed, so this is toml++ and a small table of
// what is known.
#include "server_config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string_view>

namespace inference_server {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kOpClasses = {"raw", "kernel", "graph", "kernel+graph",
                                                        "exclusive"};

class ConfigReader {
 public:
  explicit ConfigReader(fs::path file) : file_(std::move(file)) {}

  ServerConfig read() {
    toml::table root;
    try {
      root = toml::parse_file(file_.string());
    } catch (const toml::parse_error& error) {
      fail(error.source().begin.line, std::string(error.description()));
    }
    only(root, {"server", "model"}, "the file");
    ServerConfig config;
    if (const toml::node* const server = root.get("server")) {
      read_server(table(*server, "[server]"), config);
    }
    if (const toml::node* const models = root.get("model")) {
      const toml::array* const list = models->as_array();
      if (list == nullptr) fail(*models, "write [[model]], one for each model");
      for (const toml::node& model : *list)
        config.models.push_back(read_model(table(model, "[[model]]")));
    }
    for (std::size_t i = 0; i < config.models.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (config.models[i].name != config.models[j].name) continue;
        fail(root.get("model")->as_array()->at(i), "there are two models " + config.models[i].name);
      }
    }
    return config;
  }

 private:
  [[noreturn]] void fail(std::size_t line, const std::string& text) const {
    throw ServerConfigError(file_.string() + ":" + std::to_string(line) + ": " + text);
  }
  [[noreturn]] void fail(const toml::node& node, const std::string& text) const {
    fail(node.source().begin.line, text);
  }

  const toml::table& table(const toml::node& node, const std::string& what) const {
    if (!node.is_table()) fail(node, what + " must be a table");
    return *node.as_table();
  }
  void only(const toml::table& table, std::initializer_list<std::string_view> known,
            const std::string& where) const {
    for (const auto& [key, node] : table) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      std::string names;
      for (const std::string_view each : known)
        names += (names.empty() ? "" : ", ") + std::string(each);
      fail(node, std::string(key.str()) + " is not a key of " + where + "; known are " + names);
    }
  }

  void integer(const toml::table& table, std::string_view key, std::int64_t least,
               std::int64_t most, const std::function<void(std::int64_t)>& take) const {
    const toml::node* const node = table.get(key);
    if (node == nullptr) return;
    const std::optional<std::int64_t> value = node->value_exact<std::int64_t>();
    if (!value || *value < least || *value > most) {
      fail(*node, std::string(key) + " must be an integer, " + std::to_string(least) + " to " +
                      std::to_string(most));
    }
    take(*value);
  }
  std::string text(const toml::table& table, std::string_view key, std::string fallback) const {
    const toml::node* const node = table.get(key);
    if (node == nullptr) return fallback;
    const std::optional<std::string> value = node->value_exact<std::string>();
    if (!value) fail(*node, std::string(key) + " must be a string");
    return *value;
  }
  std::string required(const toml::table& table, std::string_view key,
                       const std::string& where) const {
    if (!table.contains(key)) {
      fail(table, std::string(key) + " is missing in " + where);
    }
    return text(table, key, "");
  }
  [[nodiscard]] fs::path beside(const std::string& path) const {
    return path.empty() ? fs::path() : file_.parent_path() / path;
  }

  void read_server(const toml::table& table, ServerConfig& config) const {
    only(table,
         {"address", "port", "max_connections", "max_body_bytes", "max_in_flight",
          "request_timeout_ms", "idle_timeout_ms", "default_deadline_ms", "drain_timeout_ms",
          "executor_config"},
         "[server]");
    using std::chrono::milliseconds;
    config.http.address = text(table, "address", config.http.address);
    config.executor_config = beside(text(table, "executor_config", ""));
    const auto size = [](std::size_t& field) {
      return [&field](std::int64_t value) { field = static_cast<std::size_t>(value); };
    };
    const auto duration = [](milliseconds& field) {
      return [&field](std::int64_t value) { field = milliseconds(value); };
    };
    constexpr std::int64_t kHour = 3'600'000;
    integer(table, "port", 0, 65'535,
            [&](std::int64_t value) { config.http.port = static_cast<std::uint16_t>(value); });
    integer(table, "max_connections", 1, 4'096, size(config.http.max_connections));
    integer(table, "max_body_bytes", 1'024, std::int64_t{1} << 30,
            size(config.http.max_body_bytes));
    integer(table, "max_in_flight", 1, 4'096, size(config.max_in_flight));
    integer(table, "request_timeout_ms", 1, kHour, duration(config.http.request_timeout));
    integer(table, "idle_timeout_ms", 1, kHour, duration(config.http.idle_timeout));
    integer(table, "default_deadline_ms", 1, kHour, duration(config.default_deadline));
    integer(table, "drain_timeout_ms", 0, kHour, duration(config.drain_timeout));
  }

  ModelConfig read_model(const toml::table& table) const {
    only(table, {"name", "version", "file", "op_class", "inputs", "outputs"}, "[[model]]");
    ModelConfig model;
    model.name = required(table, "name", "[[model]]");
    model.version = text(table, "version", model.version);
    for (const std::string& name : {model.name, model.version}) {
      const bool plain = std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '_' || c == '.';
      });
      if (name.empty() || name.size() > 64 || !plain || name == "." || name == "..") {
        fail(table, "name and version of a model are 1 to 64 letters, digits, '-', '_' or '.'");
      }
    }
    model.file = beside(required(table, "file", "[[model]]"));
    model.op_class = text(table, "op_class", "");
    if (!model.op_class.empty() &&
        std::find(kOpClasses.begin(), kOpClasses.end(), model.op_class) == kOpClasses.end()) {
      fail(*table.get("op_class"),
           "op_class must be raw, kernel, graph, kernel+graph or exclusive");
    }
    model.inputs = specs(table, "inputs");
    model.outputs = specs(table, "outputs");
    return model;
  }

  std::vector<TensorSpec> specs(const toml::table& table_, std::string_view key) const {
    const toml::node* const node = table_.get(key);
    if (node == nullptr) fail(table_, std::string(key) + " is missing in [[model]]");
    const toml::array* const list = node->as_array();
    if (list == nullptr || list->empty())
      fail(*node, std::string(key) + " must be a list of tables");
    std::vector<TensorSpec> specs;
    for (const toml::node& each : *list) {
      const toml::table& tensor = table(each, std::string(key));
      only(tensor, {"name", "datatype", "shape"}, std::string(key));
      TensorSpec spec{.name = required(tensor, "name", std::string(key))};
      const std::string word = required(tensor, "datatype", std::string(key));
      const std::optional<DataType> type = data_type_of(word);
      if (!type) fail(*tensor.get("datatype"), "datatype must be one of " + data_type_words());
      spec.type = *type;
      spec.shape = shape(tensor);
      for (const TensorSpec& other : specs) {
        if (other.name == spec.name) fail(each, "there are two tensors " + spec.name);
      }
      specs.push_back(std::move(spec));
    }
    return specs;
  }

  Shape shape(const toml::table& tensor) const {
    const toml::node* const node = tensor.get("shape");
    const toml::array* const list = node == nullptr ? nullptr : node->as_array();
    if (list == nullptr || list->size() > kMostDimensions) {
      fail(node == nullptr ? static_cast<const toml::node&>(tensor) : *node,
           "shape must be a list of at most 8 integers");
    }
    Shape shape;
    for (const toml::node& each : *list) {
      const std::optional<std::int64_t> dimension = each.value_exact<std::int64_t>();
      if (!dimension || *dimension < -1 || *dimension == 0 || *dimension > INT32_MAX) {
        fail(each, "a dimension must be 1 or more, or -1 for any size");
      }
      shape.push_back(*dimension);
    }
    return shape;
  }

  const fs::path file_;
};

}  // namespace

ServerConfig load_server_config(const fs::path& file) { return ConfigReader(file).read(); }

}  // namespace inference_server
