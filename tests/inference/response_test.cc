// SPDX-License-Identifier: Apache-2.0
//
// The promises of the replies: numbers that come back exactly, and JSON whatever the values are.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "infer_response.h"

namespace inference_server {
namespace {

template <typename T>
Tensor tensor(DataType type, const std::vector<T>& values) {
  Tensor result{
      .name = "y", .type = type, .shape = {static_cast<std::int64_t>(values.size())}, .bytes = {}};
  result.bytes.resize(values.size() * sizeof(T));
  std::memcpy(result.bytes.data(), values.data(), result.bytes.size());
  return result;
}

TEST(InferResponse, NumbersComeBackExactly) {
  const std::vector<float> floats = {0.1F, -3.4028235e38F, 1e-45F, 0, 16777216};
  const std::vector<std::int64_t> integers = {INT64_MIN, 0, INT64_MAX};
  const std::vector<Tensor> outputs = {tensor(DataType::kFp32, floats),
                                       tensor(DataType::kInt64, integers)};
  const auto text = infer_response_json("m", "1", "an id", outputs);
  ASSERT_TRUE(text);
  const auto json = nlohmann::json::parse(*text);
  EXPECT_EQ(json.at("model_name"), "m");
  EXPECT_EQ(json.at("model_version"), "1");
  EXPECT_EQ(json.at("id"), "an id");
  EXPECT_EQ(json.at("outputs").at(0).at("data").get<std::vector<float>>(), floats);
  EXPECT_EQ(json.at("outputs").at(1).at("data").get<std::vector<std::int64_t>>(), integers);
  EXPECT_EQ(json.at("outputs").at(1).at("datatype"), "INT64");
  EXPECT_EQ(json.at("outputs").at(0).at("shape"), nlohmann::json::array({5}));
}

TEST(InferResponse, WhatJsonHasNoWordForIsNotWritten) {
  for (const float value :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<Tensor> outputs = {tensor<float>(DataType::kFp32, {1, value})};
    EXPECT_FALSE(infer_response_json("m", "1", "", outputs));
  }
}

TEST(InferResponse, NoMessageMakesAReplyThatIsNotJson) {
  const std::string text = "a \" b \\ c \n d \xff \x01 é";
  EXPECT_TRUE(nlohmann::json::accept(error_json(text)));
  EXPECT_EQ(nlohmann::json::parse(error_json("\"\\\n")).at("error"), "\"\\\n");
}

}  // namespace
}  // namespace inference_server
