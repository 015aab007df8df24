// SPDX-License-Identifier: Apache-2.0
//
// The promises of the reader of requests: what is right is read exactly, what is wrong is named,
// and no bytes whatever do more than that.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "infer_request.h"

namespace inference_server {
namespace {

const std::vector<TensorSpec> kInputs = {{.name = "x", .type = DataType::kFp32, .shape = {-1, 2}}};
const std::vector<TensorSpec> kOutputs = {{.name = "y", .type = DataType::kFp32, .shape = {-1}},
                                          {.name = "z", .type = DataType::kFp32, .shape = {-1}}};

ParsedRequest parse(std::string_view body) { return parse_infer_request(body, kInputs, kOutputs); }

std::string input(std::string_view data, std::string_view shape = "[2,2]",
                  std::string_view type = "FP32") {
  return R"({"name":"x","datatype":")" + std::string(type) + R"(","shape":)" + std::string(shape) +
         R"(,"data":)" + std::string(data) + "}";
}
std::string body(std::string_view inputs) { return "{\"inputs\":[" + std::string(inputs) + "]}"; }

template <typename T>
std::vector<T> elements(const Tensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

TEST(InferRequest, FlatAndNestedDataAreTheSameTensor) {
  for (const char* data : {"[1,2.5,-3,4e1]", "[[1,2.5],[-3,40]]"}) {
    const ParsedRequest parsed = parse(body(input(data)));
    ASSERT_TRUE(parsed.request) << parsed.error;
    const Tensor& tensor = parsed.request->inputs.at(0);
    EXPECT_EQ(tensor.shape, (Shape{2, 2}));
    EXPECT_EQ(elements<float>(tensor), (std::vector<float>{1, 2.5F, -3, 40}));
  }
}

TEST(InferRequest, KeysMayComeInAnyOrderAndParametersArePassedOver) {
  const ParsedRequest parsed = parse(
      R"({"parameters":{"a":[1,{"b":null}]},"outputs":[{"parameters":{"c":true},"name":"z"}],)"
      R"("inputs":[{"data":[1,2],"parameters":{},"shape":[1,2],"datatype":"FP32","name":"x"}],)"
      R"("id":"seven"})");
  ASSERT_TRUE(parsed.request) << parsed.error;
  EXPECT_EQ(parsed.request->id, "seven");
  EXPECT_EQ(parsed.request->outputs, std::vector<std::string>{"z"});
}

template <typename T>
void expect_exact(DataType type, const std::string& data, const std::vector<T>& expected) {
  const std::vector<TensorSpec> inputs = {{.name = "x", .type = type, .shape = {-1}}};
  const ParsedRequest parsed = parse_infer_request(
      body(input(data, "[" + std::to_string(expected.size()) + "]", to_string(type))), inputs, {});
  ASSERT_TRUE(parsed.request) << parsed.error;
  EXPECT_EQ(elements<T>(parsed.request->inputs[0]), expected) << to_string(type);
}

TEST(InferRequest, EveryDatatypeIsReadExactlyToItsEnds) {
  expect_exact<std::uint8_t>(DataType::kBool, "[true,false]", {1, 0});
  expect_exact<std::uint8_t>(DataType::kUint8, "[0,255]", {0, 255});
  expect_exact<std::int8_t>(DataType::kInt8, "[-128,127]", {-128, 127});
  expect_exact<std::int16_t>(DataType::kInt16, "[-32768,32767]", {-32768, 32767});
  expect_exact<std::int32_t>(DataType::kInt32, "[-2147483648,2147483647]", {INT32_MIN, INT32_MAX});
  expect_exact<std::int64_t>(DataType::kInt64, "[-9223372036854775808,9223372036854775807]",
                             {INT64_MIN, INT64_MAX});
  expect_exact<float>(DataType::kFp32, "[0.1,16777217]", {0.1F, 16777216.0F});
  expect_exact<double>(DataType::kFp64, "[0.1,1e300,3]", {0.1, 1e300, 3});
}

TEST(InferRequest, WhatIsWrongIsNamed) {
  const std::string good = input("[1,2,3,4]");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not JSON, at byte 1"},
      {"{", "not JSON, at byte"},
      {"[]", "must be an object, not a list"},
      {"3", "must be an object, not a number"},
      {"{} x", "not JSON, at byte"},
      {"{\"inputs\":[\"\xff\"]}", "not JSON, at byte"},
      {"{}", "\"inputs\" is missing"},
      {R"({"inputs":{}})", "\"inputs\" cannot be an object"},
      {R"({"inputs":3})", "\"inputs\" cannot be a number"},
      {R"({"inputs":[3]})", "\"inputs\" must be a list of objects"},
      {R"({"input":[]})", "\"input\" is not a key of a request"},
      {R"({"id":7,"inputs":[]})", "\"id\" cannot be a number"},
      {body(""), "input \"x\" is missing"},
      {body("{}"), "an input has no \"name\""},
      {body(R"({"name":"x"})"), "input \"x\": \"datatype\" is missing"},
      {body(R"({"name":"w","datatype":"FP32","shape":[1,2],"data":[1,2]})"),
       "input \"w\" is none of this model's; those are x"},
      {body(good + "," + good), "input \"x\" is given twice"},
      {body(R"({"name":"x","name":"x"})"), "\"name\" is given twice"},
      {body(R"({"name":"x","dtype":"FP32"})"), "\"dtype\" is not a key of an input"},
      {body(input("[1,2,3,4]", "[2,2]", "FP64")), "FP64 is given; the model takes FP32"},
      {body(input("[1,2,3,4]", "[2,2]", "float")), "datatype \"float\" is not known here"},
      {body(input("[1,2,3,4]", "[2,2]", "BYTES")), "datatype \"BYTES\" is not known here"},
      {body(input("[1,2,3,4]", "[4]")), "shape [4] is given; the model takes [-1,2]"},
      {body(input("[1,2,3,4]", "[1,2,2]")), "shape [1,2,2] is given"},
      {body(input("[1,2,3,4]", "[-2,2]")), "a dimension of \"shape\" is negative"},
      {body(input("[1,2,3,4]", "[2.0,2]")), "\"shape\" must be a list of integers"},
      {body(input("[1,2,3,4]", "[[2],2]")), "\"shape\" must be a list of integers"},
      {body(input("[1,2,3,4]", "2")), "\"shape\" cannot be a number"},
      {body(input("[1,2,3,4]", "[1,1,1,1,1,1,1,1,1]")), "over 8 dimensions"},
      {body(input("[1,2,3,4]", "[9223372036854775807,2]")), "\"data\" has 4 elements"},
      {body(input("[1,2,3,4]", "[99999999999999999999,2]")), "\"shape\" must be a list"},
      {body(input("[1,2,3]")), "\"data\" has 3 elements, which is not what shape [2,2] has"},
      {body(input("[]", "[0,2]")), "\"data\" is empty"},
      {body(input("[[1,2,3,4]]")), "\"data\" is nested as [1,4], not as its shape [2,2]"},
      {body(input("[[1,2],[3]]")), "lists of different lengths, 2 and 1"},
      {body(input("[[1,2],3]")), "a number beside lists"},
      {body(input("[1,[2,3]]")), "a list beside numbers"},
      {body(input("[true,1,2,3]")), "booleans beside numbers"},
      {body(input("[1,true,2,3]")), "booleans beside numbers"},
      {body(input("[true,true,true,false]")), "\"data\" has booleans; FP32 takes numbers"},
      {body(input("[1,2,3,1e39]")), "a number that FP32 cannot hold"},
      {body(input("[1,2,3,1e999]")), "not JSON, at byte"},
      {body(input("[1,2,3,NaN]")), "not JSON, at byte"},
      {body(input("[1,2,3,null]")), "has null where a number should be"},
      {body(input("[1,2,3,\"4\"]")), "\"data\" has a string"},
      {body(input("[1,2,3,{}]")), "has an object where a number should be"},
      {body(input("4")), "\"data\" cannot be a number"},
      {body(input("[[[[[[[[[1]]]]]]]]]")), "nested over 8 deep"},
      {R"({"parameters":{"a":)" + std::string(99, '['), "nested over 32 deep"},
      {R"({"inputs":[{"parameters":{"binary_data_size":4}}]})", "binary data"},
      {R"({"outputs":[{}],"inputs":[]})", "an output has no \"name\""},
      {R"({"outputs":[{"name":"q"}],"inputs":[)" + good + "]}",
       "output \"q\" is none of this model's; those are y, z"},
      {R"({"id":")" + std::string(257, 'i') + R"(","inputs":[]})", "\"id\" has over 256 bytes"},
  };
  for (const auto& [text, expected] : cases) {
    const ParsedRequest parsed = parse(text);
    EXPECT_FALSE(parsed.request) << text;
    EXPECT_NE(parsed.error.find(expected), std::string::npos) << text << "\n" << parsed.error;
  }
}

TEST(InferRequest, IntegersAreNotRoundedNorTakenFromFractions) {
  const std::vector<TensorSpec> inputs = {{.name = "x", .type = DataType::kInt8, .shape = {-1}}};
  for (const char* data : {"[1.5]", "[128]", "[-129]", "[1e2]"}) {
    EXPECT_FALSE(parse_infer_request(body(input(data, "[1]", "INT8")), inputs, {}).request) << data;
  }
}

TEST(InferRequest, NoBytesAreMoreThanAnError) {
  // A fuzzer goes further (request_fuzzer.cc); this much is run every time.
  const std::string seed = R"({"id":"a","inputs":[)" + input("[[1,2.5],[-3,true]]") +
                           R"(],"outputs":[{"name":"y","parameters":{"p":[1]}}]})";
  std::mt19937 random(1);
  std::size_t good = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string text = seed;
    for (unsigned edits = 1 + random() % 4; edits > 0 && !text.empty(); --edits) {
      const std::size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = static_cast<char>(random() % 256);
          break;
        case 1:
          text.erase(at, 1 + random() % 9);
          break;
        case 2:
          text.insert(at, text.substr(random() % text.size(), random() % 20));
          break;
        default:
          text[at] = "[]{},:\"0-e."[random() % 11];
      }
    }
    const ParsedRequest parsed = parse(text);
    ASSERT_NE(parsed.request.has_value(), !parsed.error.empty()) << text;
    if (!parsed.request) continue;
    ++good;
    const Tensor& tensor = parsed.request->inputs.at(0);
    EXPECT_EQ(tensor.bytes.size(), 4 * elements_of(tensor.shape, text.size()).value()) << text;
  }
  EXPECT_LT(good, 20'000U);
}

}  // namespace
}  // namespace inference_server
