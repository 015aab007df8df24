// SPDX-License-Identifier: Apache-2.0
//
// What a browser makes of the status page: that it draws what the executor does, that no text of a
// status becomes markup, that plots are read with the keyboard, and that it fits a phone.
// STREAMGATE_SHOTS names a folder for screenshots.
#include <streamgate/executor/executor.h>
#include <streamgate/metrics/collector.h>
#include <streamgate/metrics/endpoint.h>
#include <streamgate/metrics/status.h>

#include <gtest/gtest.h>

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "../support/child_process.h"
#include "../support/temporary_folder.h"

namespace streamgate::metrics {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Empty where there is none.
std::string find_browser() {
  for (const char* file :
       {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome",
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"}) {
    if (fs::exists(file)) return file;
  }
  return "";
}

/// Runs the browser on the page until its scripts have had so much of their own time; its output.
std::string browse(const std::string& url, const std::vector<std::string>& what) {
  const testing::TemporaryFolder profile;
  std::vector<std::string> arguments = {find_browser(),
                                        "--headless",
                                        "--no-sandbox",
                                        "--disable-gpu",
                                        "--disable-quic",
                                        "--no-first-run",
                                        "--disable-background-networking",
                                        "--disable-component-update",
                                        "--disable-sync",
                                        "--disable-dev-shm-usage",
                                        "--virtual-time-budget=6000",
                                        "--user-data-dir=" + profile.path().string()};
  arguments.insert(arguments.end(), what.begin(), what.end());
  arguments.push_back(url);
  const testing::ChildResult result = testing::run_child(arguments, seconds(90));
  EXPECT_FALSE(result.timed_out) << result.err;
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

executor::ExecutorOptions options() {
  executor::ExecutorOptions options;
  options.config.executor.backend = "inline";
  options.config.executor.threads = 2;
  return options;
}

/// An executor at work behind a server of the test's own, which puts a script of the test's into
/// the page: what a user would do there.
class Page : public ::testing::Test {
 protected:
  static constexpr const char* kHostile = "<img src=x onerror=\"document.title='owned'\">&amp;";

  void SetUp() override {
    if (find_browser().empty()) {
      GTEST_SKIP() << "there is no Chromium here: apt-get install chromium to run this";
    }
    collector_.add("digits", executor_);
    server_.Get("/", [this](const httplib::Request&, httplib::Response& response) {
      std::string page(Status::page());
      page.insert(page.find("</body>"), "<script>" + script_ + "</script>");
      response.set_content(page, "text/html; charset=utf-8");
    });
    server_.Get("/status.json", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(status_->json(), "application/json");
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    serving_ = std::jthread([this] { server_.listen_after_bind(); });
    // stop() is heard only by a server that runs.
    while (!server_.is_running()) std::this_thread::yield();
    load_ = std::jthread([this](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
        std::vector<executor::Future<void>> futures;
        for (int i = 0; i < 50; ++i) futures.push_back(executor_.submit([] {}));
        for (auto& future : futures) (void)future.get();
      }
    });
  }
  void TearDown() override {
    if (port_ == 0) return;
    load_ = {};
    server_.stop();
    serving_ = {};
    status_.reset();
  }

  [[nodiscard]] std::string url() const {
    return "http://127.0.0.1:" + std::to_string(port_) + "/";
  }

  /// Until the history has points.
  void wait_for_history() {
    const auto guard = std::chrono::steady_clock::now() + seconds(30);
    while (std::chrono::steady_clock::now() < guard) {
      const std::string json = status_->json();
      const std::size_t at = json.find("\"ok_per_s\":[");
      if (at != json.npos && contains(json.substr(at, json.find(']', at) - at), ",")) return;
    }
    FAIL() << "no history";
  }

  std::string script_;
  executor::Executor executor_{options()};
  Collector collector_;
  std::unique_ptr<Status> status_ = std::make_unique<Status>(collector_);
  httplib::Server server_;
  int port_ = 0;
  std::jthread serving_;
  std::jthread load_;
};

TEST_F(Page, DrawsGatesLoadAndProvenanceOfALoadedExecutor) {
  wait_for_history();
  const std::string dom = browse(url(), {"--dump-dom"});
  EXPECT_TRUE(contains(dom, ">Live<")) << dom.substr(0, 4'000);
  EXPECT_TRUE(contains(dom, "raw: in flight, limit and ceiling") ||
              contains(dom, "kernel: in flight, limit and ceiling"));
  EXPECT_TRUE(contains(dom, "Tasks that ended, a second"));
  EXPECT_TRUE(contains(dom, "class=\"plot-use\" d=\"M"));
  EXPECT_TRUE(contains(dom, "completed a second by tasks in flight"));
  EXPECT_TRUE(contains(dom, "<dd>inline</dd>"));
  EXPECT_TRUE(contains(dom, "<title>digits: Streamgate status</title>"));
}

TEST_F(Page, NoTextOfAStatusBecomesMarkup) {
  collector_.remove("digits");
  collector_.add(kHostile, {.backend = kHostile, .device = kHostile}, [] {
    executor::Snapshot snapshot;
    snapshot.gates[0] = {.in_use = 1, .limit = 2, .ceiling = 4, .policy = kHostile};
    snapshot.gates[0].decisions = {{}};
    snapshot.limits = {
        .state = executor::LimitsState::kMismatch, .file = kHostile, .differences = {kHostile}};
    snapshot.overflow.policy = kHostile;
    snapshot.overflow.quarantined = {{kHostile, 2, kHostile}};
    return snapshot;
  });
  const std::string dom = browse(url(), {"--dump-dom"});
  EXPECT_TRUE(contains(dom, "&lt;img src=x onerror"));
  EXPECT_FALSE(contains(dom, "<img"));
  EXPECT_FALSE(contains(dom, "<title>owned"));
}

TEST_F(Page, APlotIsReadWithTheKeyboard) {
  wait_for_history();
  script_ = R"(setTimeout(() => {
    const plot = document.querySelector('#load svg');
    plot.focus();
    const press = (key) => plot.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
    press('ArrowLeft'); press('Home');
    document.body.dataset.read = plot.parentNode.querySelector('.read').textContent;
    document.body.dataset.label = plot.getAttribute('aria-label');
    document.body.dataset.focus = document.activeElement === plot;
    press('Escape');
    document.body.dataset.left = plot.parentNode.querySelector('.read').textContent;
    const button = document.getElementById('pause');
    button.click();
    document.body.dataset.pressed = button.getAttribute('aria-pressed');
  }, 3000);)";
  const std::string dom = browse(url(), {"--dump-dom"});
  EXPECT_TRUE(contains(dom, " ago: ok ")) << "a value of the past is read";
  EXPECT_TRUE(contains(dom, "data-label=\"Tasks that ended, a second, the last "));
  EXPECT_TRUE(contains(dom, "data-focus=\"true\""));
  EXPECT_TRUE(contains(dom, "data-left=\"\"")) << "and not after Escape";
  EXPECT_TRUE(contains(dom, "data-pressed=\"true\""));
}

TEST_F(Page, FitsAPhoneAndEverythingThatIsMeantForItCanBeReachedByKeyboard) {
  wait_for_history();
  script_ = R"(setTimeout(() => {
    const root = document.documentElement;
    document.body.dataset.overflow = root.scrollWidth > root.clientWidth;
    const scrolls = [...document.querySelectorAll('.scrolls')].filter((each) =>
      each.scrollWidth > each.clientWidth && each.tabIndex !== 0);
    document.body.dataset.unreachable = scrolls.length;
    const unnamed = [...document.querySelectorAll('svg, button, select')].filter((each) =>
      !each.getAttribute('aria-label') && !each.textContent.trim() && !each.closest('label'));
    document.body.dataset.unnamed = unnamed.length;
    document.body.dataset.small = [...document.querySelectorAll('button')].filter((each) =>
      each.getBoundingClientRect().height < 24).length;
  }, 3000);)";
  const std::string dom = browse(url(), {"--dump-dom", "--window-size=360,740"});
  EXPECT_TRUE(contains(dom, "data-overflow=\"false\"")) << "nothing but tables scrolls sideways";
  EXPECT_TRUE(contains(dom, "data-unreachable=\"0\""));
  EXPECT_TRUE(contains(dom, "data-unnamed=\"0\""));
  EXPECT_TRUE(contains(dom, "data-small=\"0\""));
}

TEST_F(Page, SaysThatTheServiceHasGone) {
  wait_for_history();
  script_ =
      R"(setTimeout(() => { window.fetch = () => Promise.reject(new Error('gone')); }, 2500);)";
  const std::string dom = browse(url(), {"--dump-dom"});
  EXPECT_TRUE(contains(dom, "No answer since"));
  EXPECT_TRUE(contains(dom, "Tasks that ended, a second")) << "and what was known stays";
}

TEST_F(Page, RunsUnderTheEndpointsOwnPolicy) {
  Endpoint endpoint;
  endpoint.add("digits", executor_);
  EXPECT_TRUE(contains(browse(endpoint.status_url(), {"--dump-dom"}), ">Live<"));
  endpoint.remove("digits");
}

TEST_F(Page, ScreenshotsForWhomeverLooks) {
  const char* folder = std::getenv("STREAMGATE_SHOTS");
  if (folder == nullptr) GTEST_SKIP() << "STREAMGATE_SHOTS names no folder";
  wait_for_history();
  for (const auto& [name, size] :
       {std::pair{"desktop", "1280,1500"}, std::pair{"phone", "390,2600"}}) {
    for (const auto& [scheme, value] : {std::pair{"light", "1"}, std::pair{"dark", "0"}}) {
      (void)browse(url(),
                   {std::string("--screenshot=") + folder + "/" + name + "-" + scheme + ".png",
                    std::string("--window-size=") + size, "--hide-scrollbars",
                    std::string("--blink-settings=preferredColorScheme=") + value});
    }
  }
}

}  // namespace
}  // namespace streamgate::metrics
