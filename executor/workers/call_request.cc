// SPDX-License-Identifier: Apache-2.0
#include <streamgate/executor/workers/call_request.h>

#include <streamgate/executor/internal/call_graphs.h>
#include <streamgate/executor/internal/operation_target.h>
#include <streamgate/executor/workers/codec.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <iterator>
#include <utility>

namespace streamgate::executor {
namespace {

using c10::IValue;

/// Name, module, path, digest, data; module, path and digest None for an operator.
constexpr std::size_t kHead = 5;

/// Before the device in a configuration; a module's line begins with its name, which has no colon.
constexpr char kDeviceMark = ':';

std::string text_of(const IValue& value) {
  if (!value.isString()) throw CodecError("a request without a name where one belongs");
  return value.toStringRef();
}

}  // namespace

std::vector<IValue> request_values(const Operation& operation, const std::vector<IValue>& arguments,
                                   Data data) {
  std::vector<IValue> values;
  values.reserve(kHead + arguments.size());
  values.emplace_back(operation.name());
  const ModuleFile& file = operation.target().facts().module;
  if (file.name.empty()) {
    values.resize(kHead - 1);
  } else {
    values.emplace_back(file.name);
    values.emplace_back(file.path.string());
    values.emplace_back(std::bit_cast<std::int64_t>(file.digest));
  }
  values.emplace_back(static_cast<std::int64_t>(data));
  values.insert(values.end(), arguments.begin(), arguments.end());
  return values;
}

std::string configuration_text(std::string_view device) {
  return kDeviceMark + std::string(device) + '\0';
}

std::string modules_text(const std::vector<ModuleFile>& files) {
  std::string text;
  for (const ModuleFile& file : files) {
    // A name has no colon, and the path goes to the end, whatever is in it.
    text += file.name + ":" + std::to_string(file.digest) + ":" + file.path.string() + '\0';
  }
  return text;
}

void RequestRunner::prepare(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\0'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.starts_with(kDeviceMark)) {
      modules_ = std::make_unique<ModuleRegistry>(std::string(line.substr(1)));
      continue;
    }
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) throw CodecError("a list of modules that is none");
    ModuleFile file{.name = std::string(line.substr(0, first)),
                    .path = std::string(line.substr(second + 1))};
    std::from_chars(line.data() + first + 1, line.data() + second, file.digest);
    static_cast<void>(modules_->add(std::move(file)));
  }
}

RequestRunner::Known& RequestRunner::find(const std::vector<IValue>& request) {
  if (request.size() < kHead) throw CodecError("a request of too few values");
  const std::string name = text_of(request[0]);
  const auto known = operations_.find(name);
  if (known != operations_.end()) return known->second;
  if (!request[1].isNone()) {
    if (!request[3].isInt()) throw CodecError("a request without a digest");
    ModuleFile file{.name = text_of(request[1]),
                    .path = text_of(request[2]),
                    .digest = std::bit_cast<std::uint64_t>(request[3].toInt())};
    // One that is loaded needs its file no more, which may be gone or have changed since.
    const std::vector<ModuleFile> loaded = modules_->files();
    if (std::find(loaded.begin(), loaded.end(), file) == loaded.end()) {
      static_cast<void>(modules_->add(std::move(file)));
    }
  }
  return operations_.emplace(name, Known{Operation::resolve(name, *modules_, nullptr)})
      .first->second;
}

IValue RequestRunner::run(std::vector<IValue> request) {
  Known& known = find(request);
  ++known.runs;
  const Operation& operation = known.operation;
  if (!request[kHead - 1].isInt() || request[kHead - 1].toInt() < 0 ||
      request[kHead - 1].toInt() > static_cast<std::int64_t>(Data::kHost)) {
    throw CodecError("a request that does not say where its tensors belong");
  }
  const auto data = static_cast<Data>(request[kHead - 1].toInt());
  std::vector<IValue> arguments(std::make_move_iterator(request.begin() + kHead),
                                std::make_move_iterator(request.end()));
  request.clear();
  return run_on(device(), operation, operation.bind(std::move(arguments)), data);
}

}  // namespace streamgate::executor
