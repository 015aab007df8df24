// SPDX-License-Identifier: Apache-2.0
#include "comparison.h"

#include "table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ostream>
#include <string>
#include <utility>

namespace digits {
namespace {

double milliseconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double, std::milli>(duration).count();
}

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

std::size_t differences(std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1 : 0;
  return count;
}

std::string percent(double share) { return fixed_point(100.0 * share, 1) + " %"; }

}  // namespace

double accuracy(std::span<const std::int64_t> answers, const Dataset& test) {
  std::size_t right = 0;
  for (std::size_t i = 0; i < test.size(); ++i) right += answers[i] == test.labels[i] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(test.size());
}

std::vector<std::string> complaints(const std::vector<Series>& all,
                                    std::span<const std::int64_t> expected, const Dataset& test) {
  std::vector<std::string> found;
  if (accuracy(expected, test) < kAccuracyDue) {
    found.push_back("the trained net is right about " + percent(accuracy(expected, test)) +
                    " of the test digits, and " + percent(kAccuracyDue) +
                    " are due. Remedy: more --epochs, or another --seed");
  }
  for (const Series& series : all) {
    const std::size_t different = differences(answers(series), expected);
    if (different == 0) continue;
    found.push_back(
        "served by " + series.contender.way.name + ", " + std::to_string(different) + " of " +
        std::to_string(test.size()) +
        " test digits got another answer, in at least one request, than the trained net's "
        "own: results depend on how the model is served");
  }
  return found;
}

std::string rate_text(const Spread& spread) {
  return grouped(spread.median) + " (" + grouped(spread.minimum) + " to " +
         grouped(spread.maximum) + ")";
}

std::string ratio_text(const Spread& spread) {
  return fixed_point(spread.median, 2) + " (" + fixed_point(spread.minimum, 2) + " to " +
         fixed_point(spread.maximum, 2) + ")";
}

nlohmann::ordered_json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.minimum}, {"max", spread.maximum}};
}

void print_comparison(std::ostream& out, const std::vector<Series>& all, const Dataset& test) {
  Table table({"way", "images/s: median (min to max)", "requests/s", "p50 ms", "p99 ms", "accuracy",
               "peak threads"});
  for (const Series& series : all) {
    const std::size_t threads = peak_threads(series);
    table.add_row({series.contender.way.name, rate_text(images_per_second(series)),
                   grouped(requests_per_second(series).median),
                   fixed_point(milliseconds(latency_quantile(series, 0.50)), 2),
                   fixed_point(milliseconds(latency_quantile(series, 0.99)), 2),
                   percent(accuracy(answers(series), test)),
                   threads == 0 ? "unknown" : std::to_string(threads)});
  }
  table.print(out);
  out << "Threads are the whole process's, with those of Streamgate and the metrics in every "
         "way.\n";
  out << "\nImages/s of " << all.back().contender.way.name << " as a multiple, round by round:\n";
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    out << "  of " << all[i].contender.way.name << ": " << ratio_text(speedup(all.back(), all[i]))
        << '\n';
  }
}

nlohmann::ordered_json comparison_json(const std::vector<Series>& all, const Dataset& test) {
  nlohmann::ordered_json ways = nlohmann::ordered_json::array();
  for (const Series& series : all) {
    ways.push_back({{"way", series.contender.way.name},
                    {"images_per_second", to_json(images_per_second(series))},
                    {"requests_per_second", to_json(requests_per_second(series))},
                    {"latency_seconds",
                     {{"p50", seconds(latency_quantile(series, 0.50))},
                      {"p99", seconds(latency_quantile(series, 0.99))}}},
                    {"accuracy", accuracy(answers(series), test)},
                    {"peak_threads", peak_threads(series)}});
  }
  nlohmann::ordered_json ratios = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i + 1 < all.size(); ++i) {
    ratios.push_back({{"of", all.back().contender.way.name},
                      {"over", all[i].contender.way.name},
                      {"images_per_second_ratio", to_json(speedup(all.back(), all[i]))}});
  }
  return {{"ways", std::move(ways)}, {"ratios", std::move(ratios)}};
}

}  // namespace digits
