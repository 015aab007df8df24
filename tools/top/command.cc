// SPDX-License-Identifier: Apache-2.0
//
// `streamgate top`: the status of a running service in a terminal, again and again, or once.
// Options, exit codes and the terminal; the asking is status_reply.h's, the table render.h's.
#include <streamgate/policies/config.h>

#include <CLI/CLI.hpp>

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "commands.h"
#include "probe/interrupt.h"
#include "top/render.h"
#include "top/status_reply.h"

namespace streamgate::tools {
namespace {

constexpr std::chrono::seconds kPatience{5};
constexpr std::size_t kWidthOfNoTerminal = 160;

struct Options {
  std::string url;
  std::optional<std::filesystem::path> config;
  double every_s = 1;
  bool once = false;
  bool json = false;
};

/// Where the service of that config serves its metrics.
std::string url_of(const std::filesystem::path& file) {
  const policies::Config::Metrics metrics = policies::load_config(file).metrics;
  if (!metrics.enabled)
    throw NoStatus(file.string() + ": metrics.enabled is false, so there is no status");
  if (metrics.port == 0) {
    throw NoStatus(file.string() +
                   ": metrics.port is 0, which is any free one: give the address that "
                   "the service prints, with --url");
  }
  std::string address = metrics.address == "localhost" ? "127.0.0.1" : metrics.address;
  if (address == "0.0.0.0") address = "127.0.0.1";
  if (address == "::") address = "::1";
  if (address.find(':') != address.npos) address = '[' + address + ']';
  return "http://" + address + ':' + std::to_string(metrics.port);
}

struct Size {
  std::size_t columns = kWidthOfNoTerminal;
  std::size_t rows = 50;
};

Size terminal_size() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return {};
  return {size.ws_col, size.ws_row};
}

int show_once(const std::string& base, bool json) {
  const nlohmann::ordered_json status = ask_for_status(base, kPatience);
  std::cout << (json ? status.dump() + '\n'
                     : render_top(status, {.width = terminal_size().columns}));
  return has_warnings(status) ? kWarnings : kFine;
}

/// The other screen of the terminal, without its cursor, for as long as one lives.
class Screen {
 public:
  Screen() { std::cout << "\x1b[?1049h\x1b[?25l" << std::flush; }
  ~Screen() { std::cout << "\x1b[?25h\x1b[?1049l" << std::flush; }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  /// Writes over what was there before, so that nothing flickers.
  static void show(const std::string& text, std::size_t rows) {
    std::string out = "\x1b[H";
    std::size_t begin = 0;
    for (std::size_t row = 0; row + 1 < rows && begin < text.size(); ++row) {
      const std::size_t end = text.find('\n', begin);
      out += text.substr(begin, end - begin) + "\x1b[K\r\n";
      begin = end + 1;
    }
    std::cout << out << "\x1b[J" << std::flush;
  }
};

int show_until_interrupted(const std::string& base, std::chrono::milliseconds every) {
  (void)ask_for_status(base, kPatience);  // What is wrong from the start is said on this screen.
  const Interrupt interrupt;
  const Screen screen;
  while (!interrupt.requested()) {
    const Size size = terminal_size();
    std::string text;
    try {
      text = render_top(ask_for_status(base, kPatience), {.width = size.columns});
    } catch (const NoStatus& gone) {
      text = std::string(gone.what()) + '\n';  // It may come back.
    }
    Screen::show(
        base + "    every " + std::to_string(every.count()) + " ms; Ctrl-C ends\n\n" + text,
        size.rows);
    if (!interrupt.requested()) ::poll(nullptr, 0, static_cast<int>(every.count()));
  }
  return kFine;
}

int run(const Options& options) {
  const std::string base = base_of(options.config ? url_of(*options.config) : options.url);
  if (options.once || options.json) return show_once(base, options.json);
  if (isatty(STDOUT_FILENO) == 0) {
    throw NoStatus("top draws on a terminal, and this is none; --once prints the table");
  }
  return show_until_interrupted(
      base, std::chrono::milliseconds(static_cast<long long>(options.every_s * 1000)));
}

}  // namespace

void add_top(CLI::App& app, Action& chosen) {
  CLI::App* command = app.add_subcommand(
      "top", "Show a running service's gates, queue, workers and decisions, again and again");
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto options = std::make_shared<Options>();
  auto* where = command->add_option_group("where", "Where the service is; one of these");
  where->add_option("--url", options->url, "Where it serves its metrics, as it prints it")
      ->type_name("URL");
  where->add_option("--config", options->config, "Its config (TOML), with a metrics.port")
      ->type_name("FILE");
  where->require_option(1);
  command->add_flag("--once", options->once, "Print the table once");
  command->add_flag("--json", options->json,
                    "JSON on stdout instead of the table; goes with --once");
  command->add_option("--every", options->every_s, "Seconds between two looks")
      ->type_name("S")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->footer(
      "The status is served beside the metrics, on loopback unless metrics.status says otherwise.\n"
      "Exit code: 0 fine, 1 with --once when an executor warns of something, 2 when nothing\n"
      "answers, or a wrong command line. The JSON's fields: docs/top.md.");
  command->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace streamgate::tools
