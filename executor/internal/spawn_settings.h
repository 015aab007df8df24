// SPDX-License-Identifier: Apache-2.0
//
// What every child process of ours is started with, and how posix_spawn wants its texts. Which
// descriptors it gets is the business of who starts it.
#pragma once

#include <signal.h>
#include <spawn.h>

#include <string>
#include <vector>

namespace streamgate::executor {

/// posix_spawn's two objects: default signal actions, no signal blocked, and a process group of its
/// own, so that what a terminal sends to this process (Ctrl-C) is this process's alone to answer.
///
/// Externally synchronised. Owns both objects. Blocks never; fails never.
///
///     SpawnSettings settings;
///     posix_spawn_file_actions_adddup2(&settings.files, pipe, STDOUT_FILENO);
///     posix_spawn(&pid, program, &settings.files, &settings.attributes, argv, environ);
struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    sigset_t every;
    sigfillset(&every);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &every);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnSettings() {
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t files{};
  posix_spawnattr_t attributes{};
};

/// The texts as posix_spawn takes them; they must stay where they are meanwhile.
[[nodiscard]] inline std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> all;
  for (std::string& text : texts) all.push_back(text.data());
  all.push_back(nullptr);
  return all;
}

}  // namespace streamgate::executor
