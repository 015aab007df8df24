// SPDX-License-Identifier: Apache-2.0
//
// The ways in which a task can end, as values, and the result that carries one. Every submitted
// task ends in exactly one of these; none of them is an exception except the user's own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace streamgate::executor {

enum class Outcome : std::uint8_t {
  kOk,
  kQueueFull,    ///< Rejected: the queue held its maximum of tasks.
  kBytesFull,    ///< Rejected: the queue held its maximum of bytes.
  kShed,         ///< Rejected: gave way to a task of higher priority while it was queued.
  kShutdown,     ///< Rejected: submitted after drain or destruction had begun.
  kQuarantined,  ///< Rejected: this call has killed workers before.
  kTooLarge,     ///< Rejected: it needs more memory than the whole memory budget.
  kExpired,      ///< Its deadline passed before it started.
  kCancelled,    ///< Cancelled while queued, or it left by TaskContext::throw_if_cancelled.
  kWorkerDied,   ///< The worker process that ran it died, and it was not safe to run it again.
  kFailed,       ///< It threw; get() rethrows.
};

inline constexpr std::size_t kOutcomes = 11;

[[nodiscard]] constexpr std::size_t index_of(Outcome outcome) noexcept {
  return static_cast<std::size_t>(outcome);
}

/// "ok", "rejected", "expired", "cancelled", "worker_died" or "failed": the coarse word.
[[nodiscard]] std::string_view to_string(Outcome outcome) noexcept;

/// What a rejection was for: "queue_full", "bytes_full", "shed", "shutdown", "quarantined",
/// "too_large"; empty for an outcome that is not a rejection.
[[nodiscard]] std::string_view reason(Outcome outcome) noexcept;

[[nodiscard]] constexpr bool is_rejected(Outcome outcome) noexcept {
  return outcome >= Outcome::kQueueFull && outcome <= Outcome::kTooLarge;
}

/// Thrown by Result::value() when there is no value because the task did not run to its end.
class OutcomeError : public std::runtime_error {
 public:
  /// `evidence`: see Result::evidence.
  explicit OutcomeError(Outcome outcome, const std::string& evidence = {});
  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }
  [[nodiscard]] const std::string& evidence() const noexcept { return *evidence_; }

 private:
  Outcome outcome_;
  /// Shared, as exceptions must copy without throwing.
  std::shared_ptr<const std::string> evidence_;
};

/// Of an OutcomeError; empty for null. Not for users.
[[nodiscard]] std::string evidence_of(const std::exception_ptr& why);

/// How a task ended, and its value if it ended well.
///
/// Thread-safety: as the value type's. Ownership: owns the value. Blocking: never.
/// Failure: value() and `*` rethrow the user's exception after kFailed, and throw OutcomeError
/// after any other outcome than kOk.
///
///     auto result = future.get();
///     if (!result) return reply(503, to_string(result.outcome()));
///     use(*result);
template <typename T>
class [[nodiscard]] Result {
 public:
  using Value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

  Result(Outcome outcome) noexcept : outcome_(outcome) {}  // NOLINT: an outcome is a result
  explicit Result(std::exception_ptr error) noexcept
      : outcome_(Outcome::kFailed), error_(std::move(error)) {}
  /// With the OutcomeError that value() is to throw; null: one that says no more than the outcome.
  /// REQUIRES: neither kOk nor kFailed.
  Result(Outcome outcome, std::exception_ptr why) noexcept
      : outcome_(outcome), error_(std::move(why)) {}
  template <typename... Args>
  explicit Result(std::in_place_t, Args&&... args)
      : outcome_(Outcome::kOk), value_(std::in_place, std::forward<Args>(args)...) {}

  [[nodiscard]] Outcome outcome() const noexcept { return outcome_; }
  [[nodiscard]] bool ok() const noexcept { return outcome_ == Outcome::kOk; }
  explicit operator bool() const noexcept { return ok(); }

  /// The user's exception; null unless the outcome is kFailed.
  [[nodiscard]] std::exception_ptr error() const noexcept {
    return outcome_ == Outcome::kFailed ? error_ : nullptr;
  }

  /// What is known of how it came to this, for a person: of kWorkerDied and kQuarantined the signal
  /// or exit code and the last lines that the worker wrote to standard error. Empty where nothing
  /// is.
  [[nodiscard]] std::string evidence() const {
    return outcome_ == Outcome::kFailed ? std::string() : evidence_of(error_);
  }

  Value& value() & {
    check();
    return *value_;
  }
  const Value& value() const& {
    check();
    return *value_;
  }
  Value&& value() && {
    check();
    return *std::move(value_);
  }
  Value& operator*() & { return value(); }
  const Value& operator*() const& { return value(); }
  Value&& operator*() && { return std::move(*this).value(); }
  Value* operator->() { return &value(); }
  const Value* operator->() const { return &value(); }

 private:
  void check() const {
    if (ok()) return;
    if (error_) std::rethrow_exception(error_);
    throw OutcomeError(outcome_);
  }

  Outcome outcome_;
  std::optional<Value> value_;
  std::exception_ptr error_;
};

}  // namespace streamgate::executor
