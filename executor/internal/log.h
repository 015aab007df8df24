// SPDX-License-Identifier: Apache-2.0
//
// How the library says something; who hears it is log.h's.
#pragma once

#include <streamgate/executor/log.h>

#include <initializer_list>
#include <string_view>

namespace streamgate::executor {

/// Gives a record to the sink unless its level is too low, or its event has come too often of late:
/// ten at once, and then one a second. `event` must be a literal. Thread-safe. May block as the
/// sink does; REQUIRES: no lock is held that the sink, which is the user's, could want.
void log(LogLevel level, std::string_view event, std::string_view text,
         std::initializer_list<LogField> fields = {}) noexcept;

/// The same for what cannot come often by itself, as it happens once in the life of an executor, or
/// when an operator has done something: however many executors there are, each is heard.
void log_each(LogLevel level, std::string_view event, std::string_view text,
              std::initializer_list<LogField> fields = {}) noexcept;

}  // namespace streamgate::executor
