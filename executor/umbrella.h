// SPDX-License-Identifier: Apache-2.0
//
// <streamgate/executor.h>: everything that a service needs to submit work, under short names.
#pragma once

#include <streamgate/executor/config_watcher.h>
#include <streamgate/executor/executor.h>
#include <streamgate/executor/learned_class.h>
#include <streamgate/executor/learned_memory.h>
#include <streamgate/executor/log.h>
#include <streamgate/executor/operation.h>
#include <streamgate/executor/serve.h>

namespace streamgate {

using executor::CallOptions;
using executor::Classifier;
using executor::Clock;
using executor::ConfigWatcher;
using executor::ConfigWatcherOptions;
using executor::Data;
using executor::Drain;
using executor::DrainReport;
using executor::Executor;
using executor::ExecutorOptions;
using executor::Future;
using executor::GraphUse;
using executor::LearnedClass;
using executor::LearnedMemory;
using executor::LogLevel;
using executor::LogRecord;
using executor::LogSink;
using executor::NestedWaitError;
using executor::Observed;
using executor::Operation;
using executor::OperationError;
using executor::Outcome;
using executor::OutcomeError;
using executor::Place;
using executor::Priority;
using executor::ReloadReport;
using executor::Repeat;
using executor::Result;
using executor::serve_as_worker;
using executor::set_log_level;
using executor::set_log_sink;
using executor::Snapshot;
using executor::TaskContext;
using executor::TaskObserver;
using executor::TaskOptions;
using executor::TaskRecord;
using executor::TraceContext;
using policies::Config;
using policies::ConfigError;
using policies::load_config;
using policies::OpClass;
using policies::OpClassSet;

}  // namespace streamgate
