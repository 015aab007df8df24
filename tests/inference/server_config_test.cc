// SPDX-License-Identifier: Apache-2.0
//
// The promises of the server's config: the shipped example says what it does, and what is wrong is
// named with its line.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "../support/temporary_folder.h"
#include "server_config.h"

namespace inference_server {
namespace {

using streamgate::testing::TemporaryFolder;
using streamgate::testing::write_in_place;

TEST(ServerConfig, TheShippedExampleIsTheDefaultsAndTheDigits) {
  const ServerConfig config = load_server_config(std::string(STREAMGATE_SOURCE_DIR) +
                                                 "/examples/inference_server/server.toml");
  const ServerConfig defaults;
  EXPECT_EQ(config.http.address, defaults.http.address);
  EXPECT_EQ(config.http.port, defaults.http.port);
  EXPECT_EQ(config.http.max_connections, defaults.http.max_connections);
  EXPECT_EQ(config.http.max_body_bytes, defaults.http.max_body_bytes);
  EXPECT_EQ(config.http.request_timeout, defaults.http.request_timeout);
  EXPECT_EQ(config.http.idle_timeout, defaults.http.idle_timeout);
  EXPECT_EQ(config.max_in_flight, defaults.max_in_flight);
  EXPECT_EQ(config.default_deadline, defaults.default_deadline);
  EXPECT_EQ(config.drain_timeout, defaults.drain_timeout);
  EXPECT_EQ(config.executor_config.filename(), "streamgate.toml");
  ASSERT_EQ(config.models.size(), 1U);
  EXPECT_EQ(config.models[0].inputs.at(0).shape, (Shape{-1, 1, 28, 28}));
}

TEST(ServerConfig, WhatIsWrongIsNamedWithItsLine) {
  const std::string tensors =
      "inputs = [{name='x', datatype='FP32', shape=[-1]}]\n"
      "outputs = [{name='y', datatype='FP32', shape=[]}]\n";
  const std::string model = "[[model]]\nname='m'\nfile='m.pt'\n" + tensors;
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"[server\n", ":1: "},
      {"\n[server]\nprot = 1\n", ":3: prot is not a key of [server]"},
      {"[server]\nport = 65536\n", ":2: port must be an integer, 0 to 65535"},
      {"[server]\nport = '1'\n", ":2: port must be an integer"},
      {"[server]\naddress = 1\n", ":2: address must be a string"},
      {"server = 1\n", "[server] must be a table"},
      {"[model]\n", "write [[model]]"},
      {"[[model]]\nfile='m.pt'\n", ":1: name is missing"},
      {"[[model]]\nname='../m'\nfile='m.pt'\n" + tensors, "1 to 64 letters"},
      {"[[model]]\nname='..'\nfile='m.pt'\n" + tensors, "1 to 64 letters"},
      {model + model, ":6: there are two models m"},
      {model + "op_class = 'fast'\n", ":6: op_class must be raw"},
      {"[[model]]\nname='m'\nfile='m.pt'\ninputs = []\n", ":4: inputs must be a list of tables"},
      {"[[model]]\nname='m'\nfile='m.pt'\ninputs = [{name='x', datatype='F', shape=[1]}]\n",
       ":4: datatype must be one of BOOL"},
      {"[[model]]\nname='m'\nfile='m.pt'\ninputs = [{name='x', datatype='FP32', shape=[0]}]\n",
       "a dimension must be 1 or more"},
      {"[[model]]\nname='m'\nfile='m.pt'\ninputs = [{name='x', datatype='FP32'}]\n",
       "shape must be a list"},
  };
  const TemporaryFolder folder;
  for (const auto& [text, expected] : cases) {
    write_in_place(folder / "server.toml", text);
    try {
      (void)load_server_config(folder / "server.toml");
      ADD_FAILURE() << text;
    } catch (const ServerConfigError& error) {
      const std::string what = error.what();
      EXPECT_NE(what.find(expected), std::string::npos) << text << what;
      EXPECT_NE(what.find("server.toml:"), std::string::npos) << what;
    }
  }
  EXPECT_THROW((void)load_server_config(folder / "none.toml"), ServerConfigError);
}

}  // namespace
}  // namespace inference_server
