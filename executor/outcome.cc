// SPDX-License-Identifier: Apache-2.0
//
// The words of the outcomes.
#include <streamgate/executor/outcome.h>

#include <string>

namespace streamgate::executor {
namespace {

struct Words {
  std::string_view outcome;
  std::string_view reason;
};

constexpr std::array<Words, kOutcomes> kWords = {{{"ok", ""},
                                                  {"rejected", "queue_full"},
                                                  {"rejected", "bytes_full"},
                                                  {"rejected", "shed"},
                                                  {"rejected", "shutdown"},
                                                  {"rejected", "quarantined"},
                                                  {"rejected", "too_large"},
                                                  {"expired", ""},
                                                  {"cancelled", ""},
                                                  {"worker_died", ""},
                                                  {"failed", ""}}};

std::string describe(Outcome outcome, const std::string& evidence) {
  std::string text = "the task has no value: " + std::string(to_string(outcome));
  if (is_rejected(outcome)) text += " (" + std::string(reason(outcome)) + ")";
  if (outcome == Outcome::kTooLarge) {
    text +=
        ": it needs more memory than the whole budget (memory.budget_bytes, or the device's "
        "memory less memory.headroom_bytes)";
  }
  if (!evidence.empty()) text += ": " + evidence;
  return text;
}

}  // namespace

std::string_view to_string(Outcome outcome) noexcept { return kWords[index_of(outcome)].outcome; }
std::string_view reason(Outcome outcome) noexcept { return kWords[index_of(outcome)].reason; }

OutcomeError::OutcomeError(Outcome outcome, const std::string& evidence)
    : std::runtime_error(describe(outcome, evidence)),
      outcome_(outcome),
      evidence_(std::make_shared<const std::string>(evidence)) {}

std::string evidence_of(const std::exception_ptr& why) {
  if (why == nullptr) return {};
  try {
    std::rethrow_exception(why);
  } catch (const OutcomeError& error) {
    return error.evidence();
  } catch (...) {
    return {};
  }
}

}  // namespace streamgate::executor
