// SPDX-License-Identifier: Apache-2.0
//
// Which sub-commands there are, in the order of --help.
#include "commands.h"

namespace streamgate::tools {

void add_commands(CLI::App& app, Action& chosen) {
  add_doctor(app, chosen);
  add_probe(app, chosen);
  add_probe_trial(app, chosen);
  add_simulate(app, chosen);
  add_bench(app, chosen);
#if STREAMGATE_WITH_METRICS
  add_top(app, chosen);
#endif
#if defined(__linux__)
  add_worker(app, chosen);
#endif
}

}  // namespace streamgate::tools
