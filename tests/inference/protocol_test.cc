// SPDX-License-Identifier: Apache-2.0
//
// What the server answers to the protocol's requests, right and wrong, over real connections.
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "server_process.h"

namespace streamgate::testing {
namespace {

class Protocol : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { server_ = std::make_unique<ServerProcess>(); }
  static void TearDownTestSuite() { server_.reset(); }
  /// After whatever was sent, it must still serve.
  void TearDown() override { EXPECT_EQ(server_->post(kInfer, digits_body(1)).status, 200); }
  inline static std::unique_ptr<ServerProcess> server_;
};

TEST_F(Protocol, AnInferenceIsAnsweredInBothVersionsOfThePath) {
  for (const char* path :
       {kInfer, "/v1/models/digits/infer", "/v2/models/digits/versions/1/infer"}) {
    const HttpReply reply = server_->post(path, digits_body(3, R"(,"id":"abc")"));
    ASSERT_EQ(reply.status, 200) << reply.body;
    const auto json = nlohmann::json::parse(reply.body);
    EXPECT_EQ(json.at("model_name"), "digits");
    EXPECT_EQ(json.at("id"), "abc");
    const auto& scores = json.at("outputs").at(0);
    EXPECT_EQ(scores.at("name"), "scores");
    EXPECT_EQ(scores.at("datatype"), "FP32");
    EXPECT_EQ(scores.at("shape"), nlohmann::json::array({3, 10}));
    const auto data = scores.at("data").get<std::vector<float>>();
    ASSERT_EQ(data.size(), 30U);
    for (std::size_t i = 0; i < 10; ++i) EXPECT_NEAR(data[i], data[i + 10], 1e-4) << "alike";
  }
}

TEST_F(Protocol, HealthModelsAndMetadataAreTold) {
  for (const char* path : {"/v2/health/live", "/v2/health/ready", "/v1/health/ready",
                           "/v2/models/digits/ready", "/v2"}) {
    EXPECT_EQ(server_->get(path).status, 200) << path;
  }
  const auto models = nlohmann::json::parse(server_->get("/v1/models").body).at("models");
  ASSERT_EQ(models.size(), 1U);
  EXPECT_EQ(models[0].at("name"), "digits");
  const auto metadata = nlohmann::json::parse(server_->get("/v2/models/digits").body);
  EXPECT_EQ(metadata.at("platform"), "pytorch_torchscript");
  EXPECT_EQ(metadata.at("inputs").at(0).at("shape"), nlohmann::json::array({-1, 1, 28, 28}));
  EXPECT_EQ(metadata.at("outputs").at(0).at("name"), "scores");
}

TEST_F(Protocol, EachWrongRequestHasItsStatusAndMessage) {
  const std::string good = digits_body(1);
  using Case = std::tuple<std::string, int, std::string>;
  const std::vector<Case> cases = {
      {ServerProcess::post_text(kInfer, "{"), 400, "not JSON"},
      {ServerProcess::post_text(kInfer, ""), 400, "not JSON"},
      {ServerProcess::post_text(kInfer, R"({"inputs":[]})"), 400, "input \"images\" is missing"},
      {ServerProcess::post_text(kInfer, good, "Streamgate-Timeout-Ms: soon\r\n"), 400,
       "Streamgate-Timeout-Ms must be an integer, 1 to 3600000"},
      {ServerProcess::post_text(kInfer, good, "Streamgate-Timeout-Ms: 0\r\n"), 400, "1 to 3600000"},
      {ServerProcess::post_text(kInfer, good, "Streamgate-Priority: urgent\r\n"), 400,
       "Streamgate-Priority must be lowest, low, normal, high or highest"},
      {ServerProcess::post_text(kInfer, good, "Inference-Header-Content-Length: 9\r\n"), 400,
       "binary data"},
      {ServerProcess::post_text("/v2/models/nobody/infer", good), 404, "no model of that name"},
      {ServerProcess::post_text("/v2/models/digits/versions/2/infer", good), 404,
       "its version is 1"},
      {ServerProcess::post_text("/v2/models/digits/predict", good), 405, "only infer"},
      {ServerProcess::post_text("/elsewhere", good), 404, "models are at /v2/models"},
      {"GET /v2/models/digits/infer HTTP/1.1\r\nConnection: close\r\n\r\n", 405, "by POST"},
      {"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", 404, "begin with /v2"},
      {"PUT /v2 HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405, "only GET, HEAD and POST"},
      {"DELETE /v2/models/digits HTTP/1.1\r\n\r\n", 405, "only GET, HEAD and POST"},
      {std::string("POST ") + kInfer + " HTTP/1.1\r\n\r\n", 411, "Content-Length"},
      {std::string("POST ") + kInfer + " HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400,
       "contradict"},
      {std::string("POST ") + kInfer +
           " HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
       400, "contradict"},
      {std::string("POST ") + kInfer +
           " HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
       400, "contradict"},
      {ServerProcess::post_text(kInfer, "--b--",
                                "Content-Type: multipart/form-data; boundary=b\r\n"),
       415, "must be JSON"},
      {"nonsense\r\n\r\n", 400, "not one that this server can read"},
  };
  for (const auto& [text, status, expected] : cases) {
    const HttpReply reply = server_->send(text);
    EXPECT_EQ(reply.status, status) << text.substr(0, 200) << reply.body;
    EXPECT_NE(error_of(reply).find(expected), std::string::npos)
        << text.substr(0, 200) << reply.body;
  }
}

TEST_F(Protocol, TheDocsExampleIsAnsweredAsTheDocsSay) {
  std::ostringstream page;
  page << std::ifstream(std::string(STREAMGATE_SOURCE_DIR) + "/docs/inference_server.md").rdbuf();
  const std::string text = page.str();
  const std::size_t begin = text.find("```json\n") + 8;
  const HttpReply reply =
      server_->post(kInfer, text.substr(begin, text.find("```", begin) - begin));
  EXPECT_EQ(reply.status, 400);
  EXPECT_EQ(error_of(reply),
            "input \"images\": \"data\" has 2 elements, which is not what shape [1,1,28,28] has");
}

TEST_F(Protocol, TricksInPathsFindNoFile) {
  for (const char* path :
       {"/v2/models/../../etc/passwd", "/v2/models/..%2f..%2fetc%2fpasswd/infer",
        "/v2/models/%2e%2e/infer", "/../server.toml", "/v2/models/digits%00/infer",
        "/v2/models//infer", "/v2/models/digits/infer/", "/v2/models/digits.pt", "//etc/passwd",
        "/v2/models/%ff%fe/infer", "/v2/models/digits/versions/..%2f1/infer"}) {
    for (const HttpReply& reply : {server_->get(path), server_->post(path, digits_body(1))}) {
      EXPECT_GE(reply.status, 400) << path;
      EXPECT_LT(reply.status, 500) << path;
      EXPECT_FALSE(error_of(reply).empty()) << path;
      EXPECT_EQ(reply.body.find("root:"), std::string::npos) << path;
    }
  }
  EXPECT_EQ(server_->get("/v2/" + std::string(4'000, 'a')).status, 414);
}

TEST_F(Protocol, AConnectionServesOneRequestAfterAnother) {
  Connection connection(AF_INET, server_->port());
  const std::string body = digits_body(1);
  const std::string request = std::string("POST ") + kInfer +
                              " HTTP/1.1\r\nContent-Length: " + std::to_string(body.size()) +
                              "\r\n\r\n" + body;
  // All at once: what is behind a request's end belongs to the next.
  connection.send(request + request + "GET /v2/health/live HTTP/1.1\r\nConnection: close\r\n\r\n");
  const std::string replies = connection.receive_all();
  std::size_t ok = 0;
  for (std::size_t at = replies.find("HTTP/1.1 200"); at != replies.npos;
       at = replies.find("HTTP/1.1 200", at + 1)) {
    ++ok;
  }
  EXPECT_EQ(ok, 3U) << replies;
}

}  // namespace
}  // namespace streamgate::testing
