// SPDX-License-Identifier: Apache-2.0
//
// What deaths_test.cc lets die: one misuse or one fault of the emulated Metal, named by the first
// argument. Exits with 0 when it survived with right results, 3 when results were wrong.
#include <streamgate/executor/backends/emulator/metal.h>
#include <streamgate/policies/fault_model.h>

#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "hammer.h"

namespace {

namespace metal = streamgate::executor::metal;
using streamgate::policies::FaultModel;
using streamgate::policies::OpClass;
using streamgate::policies::OpClassSet;
using streamgate::testing::Hammer;

using Arguments = std::vector<std::string>;

int verdict(std::uint64_t wrong) { return wrong == 0 ? 0 : 3; }

/// A device that never fails by itself.
std::unique_ptr<metal::Device> device() {
  auto made = std::make_unique<metal::Device>(FaultModel{});
  made->initialise();
  return made;
}

OpClassSet classes_from(const std::string& text) {
  for (std::size_t lane = 0; lane < streamgate::policies::kLanes; ++lane) {
    if (to_string(OpClassSet::from_lane(lane)) == text) return OpClassSet::from_lane(lane);
  }
  throw std::invalid_argument(text);
}

// ---- misuse ----

int two_threads_without_the_queue(const Arguments&) {
  const auto one = device();
  metal::Stream& stream = one->stream(0);
  std::barrier together(2);
  const auto encode = [&] {
    together.arrive_and_wait();
    for (int i = 0; i < 1000; ++i) stream.encoder().encode({.classes = OpClass::kRaw});
  };
  const std::jthread other(encode);
  encode();
  return 0;
}

int commit_with_an_open_encoder(const Arguments&) {
  const auto one = device();
  one->stream(0).run_sync([&] {
    one->stream(0).encoder().encode({.classes = OpClass::kRaw});
    one->stream(0).command_buffer().commit();
  });
  return 0;
}

int handler_after_commit(const Arguments& arguments) {
  const auto one = device();
  one->stream(0).run_sync([&] {
    metal::CommandBuffer& buffer = one->stream(0).command_buffer();
    buffer.commit();
    if (arguments.at(0) == "scheduled") buffer.add_scheduled_handler([] {});
    buffer.add_completed_handler([] {});
  });
  return 0;
}

int encode_after_commit(const Arguments&) {
  const auto one = device();
  one->stream(0).run_sync([&] {
    metal::CommandBuffer& buffer = one->stream(0).command_buffer();
    buffer.commit();
    buffer.encoder().encode({});
  });
  return 0;
}

int use_before_initialisation(const Arguments&) {
  metal::Device one(FaultModel{});
  one.stream(0).run_sync([&] { one.stream(0).encoder().encode({}); });
  return 0;
}

int initialisation_off_the_main_thread(const Arguments&) {
  metal::Device one(FaultModel{});
  std::thread([&] { one.initialise(); }).join();
  return 0;
}

int a_turn_inside_a_turn(const Arguments&) {
  const auto one = device();
  one->stream(0).run_sync([&] { one->stream(0).run_sync([] {}); });
  return 0;
}

// ---- faults ----

/// MODEL ITERATIONS (CLASSES THREADS)...: no gate.
int hammer_it(const Arguments& arguments) {
  metal::Device one(streamgate::policies::parse_fault_model(arguments.at(0), "argument"));
  one.initialise();
  std::vector<Hammer> hammers;
  for (std::size_t i = 2; i + 1 < arguments.size(); i += 2) {
    hammers.push_back({classes_from(arguments[i]), std::stoul(arguments[i + 1])});
  }
  return verdict(streamgate::testing::hammer(one, hammers, std::stoul(arguments.at(1))));
}

const std::map<std::string, std::function<int(const Arguments&)>>& deaths() {
  static const std::map<std::string, std::function<int(const Arguments&)>> all{
      {"two-threads-without-the-queue", two_threads_without_the_queue},
      {"commit-with-an-open-encoder", commit_with_an_open_encoder},
      {"handler-after-commit", handler_after_commit},
      {"encode-after-commit", encode_after_commit},
      {"use-before-initialisation", use_before_initialisation},
      {"initialisation-off-the-main-thread", initialisation_off_the_main_thread},
      {"a-turn-inside-a-turn", a_turn_inside_a_turn},
      {"hammer", hammer_it}};
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || !deaths().contains(argv[1])) {
    std::fputs("usage: victim DEATH [ARGUMENT...]\n", stderr);
    return 2;
  }
  return deaths().at(argv[1])(Arguments(argv + 2, argv + argc));
}
