// SPDX-License-Identifier: Apache-2.0
//
// The body is read as it comes, without a tree of it: a tree takes 16 bytes and more for each
// number in a list of a million, and would have been built before anybody looked at it.
#include "infer_body.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace inference_server {
namespace {

/// What nlohmann::json::sax_parse calls, by its names. Each function says whether to go on.
class BodyReader {
 public:
  using number_integer_t = std::int64_t;
  using number_unsigned_t = std::uint64_t;
  using number_float_t = double;
  using string_t = std::string;
  using binary_t = nlohmann::json::binary_t;

  InferBody body;

  bool null() { return value("null"); }
  bool boolean(bool flag) {
    if (place() != Place::kData) return value("a boolean");
    return number(Numbers::Kind::kBool, flag ? 1 : 0);
  }
  bool number_integer(std::int64_t number_) {
    if (place() == Place::kData) return number(Numbers::Kind::kInteger, number_);
    if (place() == Place::kShape) return fail(in_input("a dimension of \"shape\" is negative"));
    return value("a number");
  }
  bool number_unsigned(std::uint64_t number_) {
    const bool fits = number_ <= static_cast<std::uint64_t>(INT64_MAX);
    if (place() == Place::kData) {
      if (!fits) return fail(in_input("\"data\" has a number above that of INT64"));
      return number(Numbers::Kind::kInteger, static_cast<std::int64_t>(number_));
    }
    if (place() == Place::kShape) {
      Shape& shape = *body.inputs.back().shape;
      if (!fits) return fail(in_input("a dimension of \"shape\" is too large"));
      if (shape.size() == kMostDimensions) return fail(in_input("\"shape\" has over 8 dimensions"));
      shape.push_back(static_cast<std::int64_t>(number_));
      return true;
    }
    return value("a number");
  }
  bool number_float(double number_, const std::string&) {
    if (place() != Place::kData) return value("a number");
    return real(number_);
  }
  bool string(std::string& text) {
    if (place() == Place::kTop && key_ == "id") {
      if (text.size() > kLongestName) return fail("\"id\" has over 256 bytes");
      body.id = std::move(text);
      return true;
    }
    if (place() == Place::kInput && (key_ == "name" || key_ == "datatype")) {
      if (text.size() > kLongestName)
        return fail(in_input(in_quotes(key_) + " has over 256 bytes"));
      (key_ == "name" ? body.inputs.back().name : body.inputs.back().type) = std::move(text);
      return true;
    }
    if (place() == Place::kOutput && key_ == "name") {
      if (text.size() > kLongestName) return fail("an output's \"name\" has over 256 bytes");
      body.outputs.back() = std::move(text);
      return true;
    }
    if (place() == Place::kData) {
      return fail(in_input("\"data\" has a string; there is no model here that takes BYTES"));
    }
    return value("a string");
  }
  bool binary(binary_t&) { return value("bytes"); }

  bool start_object(std::size_t) {
    if (places_.empty()) return enter(Place::kTop);
    if (place() == Place::kInputs) {
      if (body.inputs.size() == kMostInputs) return fail("\"inputs\" has over 64 tensors");
      body.inputs.emplace_back();
      return enter(Place::kInput);
    }
    if (place() == Place::kOutputs) {
      if (body.outputs.size() == kMostInputs) return fail("\"outputs\" has over 64 tensors");
      body.outputs.emplace_back();
      return enter(Place::kOutput);
    }
    const bool known = place() == Place::kTop || place() == Place::kInput ||
                       place() == Place::kOutput || place() == Place::kSkipped;
    if (known && (place() == Place::kSkipped || key_ == "parameters")) {
      return enter(Place::kSkipped);
    }
    return value("an object");
  }
  bool key(std::string& name) {
    if (place() == Place::kSkipped) {
      // Of "parameters": those that change how the body is to be read cannot be passed over.
      if (name == "binary_data_size") return fail("tensors as binary data are not supported here");
      return true;
    }
    if (name.size() > kLongestName) return fail("a key has over 256 bytes");
    std::vector<std::string>& seen = keys_.back();
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      return fail(in_quotes(name) + " is given twice");
    }
    if (!is_known(name)) return fail(in_quotes(name) + " is not a key " + where());
    seen.push_back(name);
    key_ = std::move(name);
    return true;
  }
  bool end_object() {
    if (place() == Place::kOutput && body.outputs.back().empty()) {
      return fail("an output has no \"name\"");
    }
    return leave();
  }

  bool start_array(std::size_t) {
    switch (places_.empty() ? Place::kNowhere : place()) {
      case Place::kTop:
        if (key_ == "inputs") {
          body.has_inputs = true;
          return enter(Place::kInputs);
        }
        if (key_ == "outputs") return enter(Place::kOutputs);
        break;
      case Place::kInput:
        if (key_ == "shape") {
          body.inputs.back().shape.emplace();
          return enter(Place::kShape);
        }
        if (key_ == "data") {
          body.inputs.back().data.emplace();
          open_lists_.assign(1, 0);
          return enter(Place::kData);
        }
        break;
      case Place::kData:
        if (open_lists_.size() == kMostDimensions) {
          return fail(in_input("\"data\" is nested over 8 deep"));
        }
        if (!descend()) return false;
        ++open_lists_.back();
        open_lists_.push_back(0);
        return enter(Place::kData);
      case Place::kSkipped:
        return enter(Place::kSkipped);
      default:
        break;
    }
    return value("a list");
  }
  bool end_array() {
    if (place() == Place::kData && !close_list()) return false;
    return leave();
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception& exception) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...".
    const std::string_view what = exception.what();
    const std::size_t reason = what.find("] ");
    return fail("the body is not JSON, at byte " + std::to_string(position) + ": " +
                cleaned(reason == what.npos ? what : what.substr(reason + 2)));
  }

 private:
  enum class Place : std::uint8_t {
    kNowhere,
    kTop,
    kInputs,
    kInput,
    kShape,
    kData,
    kOutputs,
    kOutput,
    kSkipped
  };
  static constexpr std::size_t kMostInputs = 64;
  static constexpr std::size_t kDeepest = 32;

  [[nodiscard]] Place place() const noexcept {
    return places_.empty() ? Place::kNowhere : places_.back();
  }
  bool enter(Place place) {
    if (places_.size() == kDeepest) return fail("the body is nested over 32 deep");
    places_.push_back(place);
    keys_.emplace_back();
    return true;
  }
  bool leave() {
    places_.pop_back();
    keys_.pop_back();
    return true;
  }
  bool fail(std::string text) {
    if (body.error.empty()) body.error = std::move(text);
    return false;
  }
  static std::string cleaned(std::string_view text) {
    std::string shown;
    for (const char c : text.substr(0, 200)) shown += (c >= ' ' && c <= '~') ? c : '?';
    return shown;
  }
  [[nodiscard]] std::string in_input(const std::string& text) const {
    const RawInput& input = body.inputs.back();
    const std::string which =
        input.name ? in_quotes(*input.name) : "number " + std::to_string(body.inputs.size());
    return "input " + which + ": " + text;
  }
  [[nodiscard]] std::string where() const {
    switch (place()) {
      case Place::kInput:
        return "of an input; known are name, shape, datatype, parameters, data";
      case Place::kOutput:
        return "of an output; known are name, parameters";
      default:
        return "of a request; known are id, parameters, inputs, outputs";
    }
  }
  [[nodiscard]] bool is_known(std::string_view name) const {
    if (name == "parameters") return true;
    if (place() == Place::kTop) return name == "id" || name == "inputs" || name == "outputs";
    if (place() == Place::kOutput) return name == "name";
    return name == "name" || name == "shape" || name == "datatype" || name == "data";
  }
  /// A value where it cannot be; those of "parameters" are passed over.
  bool value(std::string_view what) {
    if (place() == Place::kSkipped) return true;
    if (places_.empty()) return fail("the body must be an object, not " + std::string(what));
    if (place() == Place::kShape) return fail(in_input("\"shape\" must be a list of integers"));
    if (place() == Place::kData) {
      return fail(in_input("\"data\" has " + std::string(what) + " where a number should be"));
    }
    if (place() == Place::kInputs) return fail("\"inputs\" must be a list of objects");
    if (place() == Place::kOutputs) return fail("\"outputs\" must be a list of objects");
    return fail(in_quotes(key_) + " cannot be " + std::string(what));
  }

  // ---- "data" ----

  [[nodiscard]] Numbers& numbers() { return *body.inputs.back().data; }

  /// Lists are nested equally deep everywhere: a number belongs in the deepest only.
  bool descend() {
    Numbers& all = numbers();
    if (all.kind != Numbers::Kind::kNone && open_lists_.size() >= deepest_) {
      return fail(in_input("\"data\" has a list beside numbers"));
    }
    return true;
  }
  bool number_belongs() {
    Numbers& all = numbers();
    if (all.kind == Numbers::Kind::kNone) {
      deepest_ = open_lists_.size();
    } else if (open_lists_.size() != deepest_) {
      return fail(in_input("\"data\" has a number beside lists"));
    }
    ++open_lists_.back();
    return true;
  }
  bool number(Numbers::Kind kind, std::int64_t integer) {
    if (!number_belongs()) return false;
    Numbers& all = numbers();
    if (all.kind == Numbers::Kind::kReal && kind == Numbers::Kind::kInteger) {
      all.reals.push_back(static_cast<double>(integer));
      return true;
    }
    if (all.kind != Numbers::Kind::kNone && all.kind != kind) return mixed();
    all.kind = kind;
    all.integers.push_back(integer);
    return true;
  }
  bool real(double number_) {
    if (!number_belongs()) return false;
    Numbers& all = numbers();
    if (all.kind == Numbers::Kind::kBool) return mixed();
    if (all.kind != Numbers::Kind::kReal) {
      all.reals.assign(all.integers.begin(), all.integers.end());
      all.integers = {};
      all.kind = Numbers::Kind::kReal;
    }
    all.reals.push_back(number_);
    return true;
  }
  bool mixed() { return fail(in_input("\"data\" has booleans beside numbers")); }

  /// Every list at one depth must be as long as the first there.
  bool close_list() {
    Numbers& all = numbers();
    const std::size_t depth = open_lists_.size() - 1;
    const auto size = static_cast<std::int64_t>(open_lists_.back());
    open_lists_.pop_back();
    if (all.nesting.size() <= depth) all.nesting.resize(depth + 1, kUnseen);
    if (all.nesting[depth] == kUnseen) all.nesting[depth] = size;
    if (all.nesting[depth] == size) return true;
    return fail(in_input("\"data\" has lists of different lengths, " +
                         std::to_string(all.nesting[depth]) + " and " + std::to_string(size) +
                         ", at one depth"));
  }

  static constexpr std::int64_t kUnseen = -1;

  std::vector<Place> places_;
  std::vector<std::vector<std::string>> keys_;  ///< Of each open object, those that were given.
  std::string key_;
  std::vector<std::size_t> open_lists_;  ///< Of the present "data": the elements so far, by depth.
  std::size_t deepest_ = 0;              ///< Depth of its numbers.
};

}  // namespace

std::string in_quotes(std::string_view text) {
  constexpr std::size_t kMost = 64;
  std::string shown;
  for (const char c : text.substr(0, kMost)) shown += (c >= ' ' && c <= '~') ? c : '?';
  return '"' + shown + (text.size() > kMost ? "...\"" : "\"");
}

InferBody read_infer_body(std::string_view json) {
  BodyReader reader;
  const bool read = nlohmann::json::sax_parse(json.begin(), json.end(), &reader);
  if (!read && reader.body.error.empty()) reader.body.error = "the body is not JSON";
  return std::move(reader.body);
}

}  // namespace inference_server
