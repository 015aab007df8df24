// SPDX-License-Identifier: Apache-2.0
//
// `streamgate worker`: what an executor starts as its worker processes, where its config names this
// command. It is not in --help, as it does nothing for people.
#include <streamgate/executor/workers/torch_runner.h>
#include <streamgate/executor/workers/worker_loop.h>

#include <CLI/CLI.hpp>

#include <memory>

#include "commands.h"

namespace streamgate::tools {

void add_worker(CLI::App& app, Action& chosen) {
  CLI::App* command =
      app.add_subcommand("worker", "Serve the process that started this one, until it ends");
  command->group("");  // Not listed.
  // Shared by the app, which parses into them, and the action, which outlives the parsing.
  auto links = std::make_shared<executor::WorkerLinks>();
  command->add_option("--channel-fd", links->channel, "Shared memory of the host")->required();
  command->add_option("--life-fd", links->life, "Pipe that ends with the host")->required();
  command->add_option("--host", links->host, "Process id of the host")->required();
  command->add_option("--intra-op", links->intra_op_threads, "Threads of libtorch")->required();
  command->footer("Exit code: 0 the host has ended this, 70 it cannot serve, 71 no host is left.");
  command->callback([links, &chosen] {
    chosen = [links] { return executor::serve_host(*links, *executor::make_torch_runner()); };
  });
}

}  // namespace streamgate::tools
