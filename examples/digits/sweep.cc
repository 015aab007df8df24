// SPDX-License-Identifier: Apache-2.0
#include "sweep.h"

#include "comparison.h"
#include "table.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <ostream>
#include <string>
#include <utility>

namespace digits {
namespace {

std::size_t best_by_hand(const Sweep& sweep) {
  const auto best = std::ranges::max_element(
      sweep.by_hand, {}, [](const Series& series) { return images_per_second(series).median; });
  return static_cast<std::size_t>(best - sweep.by_hand.begin());
}

std::string setting(const Sweep& sweep, std::size_t i) {
  const std::size_t threads = sweep.by_hand[i].contender.load.clients;
  return std::to_string(threads) + (threads == 1 ? " thread, " : " threads, ") +
         std::to_string(sweep.intra_op_threads[i]) + " intra-op";
}

}  // namespace

Sweep run_sweep(const ModelServer& server, const LoadOptions& load, std::size_t rounds,
                const OnTurn& on_turn) {
  Sweep sweep;
  std::vector<Contender> contenders;
  for (const std::size_t intra_op_threads : {1, 2}) {
    for (const std::size_t threads : {1, 2, 4, 8}) {
      Contender contender{.way = server.plain_threads(intra_op_threads), .load = load};
      contender.load.clients = threads;
      contenders.push_back(std::move(contender));
      sweep.intra_op_threads.push_back(intra_op_threads);
    }
  }
  contenders.push_back({.way = server.streamgate_run(), .load = load});
  contenders.push_back({.way = server.streamgate_submit(), .load = load});

  std::vector<Series> all = take_turns(contenders, rounds, on_turn);
  const auto split = all.begin() + static_cast<std::ptrdiff_t>(sweep.intra_op_threads.size());
  sweep.by_hand.assign(std::make_move_iterator(all.begin()), std::make_move_iterator(split));
  sweep.streamgate.assign(std::make_move_iterator(split), std::make_move_iterator(all.end()));
  return sweep;
}

void print_sweep(std::ostream& out, const Sweep& sweep) {
  const std::size_t best = best_by_hand(sweep);
  const double full = images_per_second(sweep.by_hand[best]).median;
  Table table({"way", "images/s: median (min to max)", "p50 ms", "p99 ms", "of the best by hand"});
  const auto add = [&](const std::string& name, const Series& series) {
    const auto milliseconds = [&](double share) {
      return fixed_point(
          std::chrono::duration<double, std::milli>(latency_quantile(series, share)).count(), 2);
    };
    table.add_row({name, rate_text(images_per_second(series)), milliseconds(0.50),
                   milliseconds(0.99), fixed_point(images_per_second(series).median / full, 2)});
  };
  for (std::size_t i = 0; i < sweep.by_hand.size(); ++i) add(setting(sweep, i), sweep.by_hand[i]);
  for (const Series& series : sweep.streamgate) {
    add(series.contender.way.name + ", " + std::to_string(series.contender.load.clients) +
            " clients",
        series);
  }
  table.print(out);
  out << "\nBest by hand: " << setting(sweep, best)
      << ". Images/s as a multiple of its, round by round:\n";
  for (const Series& series : sweep.streamgate) {
    out << "  " << series.contender.way.name << ": "
        << ratio_text(speedup(series, sweep.by_hand[best])) << '\n';
  }
}

nlohmann::ordered_json sweep_json(const Sweep& sweep) {
  const auto describe = [](const Series& series) {
    const auto seconds = [&](double share) {
      return std::chrono::duration<double>(latency_quantile(series, share)).count();
    };
    return nlohmann::ordered_json{
        {"clients", series.contender.load.clients},
        {"images_per_second", to_json(images_per_second(series))},
        {"latency_seconds", {{"p50", seconds(0.50)}, {"p99", seconds(0.99)}}}};
  };
  nlohmann::ordered_json by_hand = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < sweep.by_hand.size(); ++i) {
    by_hand.push_back(describe(sweep.by_hand[i]));
    by_hand.back()["intra_op_threads"] = sweep.intra_op_threads[i];
  }
  const std::size_t best = best_by_hand(sweep);
  nlohmann::ordered_json streamgate = nlohmann::ordered_json::array();
  for (const Series& series : sweep.streamgate) {
    streamgate.push_back(describe(series));
    streamgate.back()["way"] = series.contender.way.name;
    streamgate.back()["images_per_second_ratio"] = to_json(speedup(series, sweep.by_hand[best]));
  }
  nlohmann::ordered_json best_json = by_hand[best];
  return {{"by_hand", std::move(by_hand)},
          {"best_by_hand", std::move(best_json)},
          {"streamgate", std::move(streamgate)}};
}

}  // namespace digits
