// SPDX-License-Identifier: Apache-2.0
//
// The way of a call: a graph on this slot? Replay. Else run, and perhaps capture what was run.
#include <streamgate/executor/backends/graph_cache.h>

#include <ATen/core/grad_mode.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

namespace streamgate::executor {
namespace {

using policies::OpClass;

/// Known calls that are remembered at once; a service whose shapes never repeat must not grow.
constexpr std::size_t kMostKnown = 65'536;
constexpr std::size_t kMostRefusals = 256;

/// Named, as g++ 13.3 dies of such options in braces where Operation is not complete.
TaskOptions as_graph(std::string_view name) { return {.op_class = OpClass::kGraph, .name = name}; }

}  // namespace

bool is_out_of_memory(const std::exception& error) noexcept {
  return dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
         std::strstr(error.what(), "out of memory") != nullptr;
}

GraphFunction::GraphFunction(Callable callable)
    : GraphFunction({.id = new_id()}, std::move(callable)) {}

std::uint64_t GraphFunction::new_id() noexcept {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

// ---- one use of a captured call ----

/// Keeps an entry's graph from being given up while it is replayed.
class GraphCache::Use {
 public:
  Use(Slot& slot, const Key& key) : slot_(slot) {
    const std::lock_guard lock(slot.mutex);
    const auto found = slot.entries.find(key);
    if (found == slot.entries.end()) return;
    entry_ = &found->second;
    entry_->in_use = true;
  }
  ~Use() {
    if (entry_ == nullptr) return;
    const std::lock_guard lock(slot_.mutex);
    entry_->in_use = false;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  /// Null: not captured on this slot.
  [[nodiscard]] Entry* entry() const noexcept { return entry_; }

 private:
  Slot& slot_;
  Entry* entry_ = nullptr;
};

// ---- the cache ----

GraphCache::GraphCache(Executor& executor, std::unique_ptr<GraphDevice> device,
                       GraphCacheOptions options)
    : executor_(executor), device_(std::move(device)), options_(options) {}

GraphCache::~GraphCache() {
  const auto ended = executor_.run(as_graph("give up graphs"), [this] {
    give_up_all();
    device_->give_back_memory();
  });
  // An executor that takes no more tasks has none that could be in the way.
  if (ended.outcome() != Outcome::kOk) {
    give_up_all();
    device_->give_back_memory();
  }
}

bool GraphCache::make_key(const GraphFunction& function, const Tensors& inputs,
                          GraphResults results, Key& key) {
  std::vector<std::int64_t>& words = key.words;
  const GraphFunction::Identity& identity = function.identity();
  words.reserve(7 + identity.constants.size() + inputs.size() * 12);
  words.push_back(static_cast<std::int64_t>(identity.id));
  words.push_back(static_cast<std::int64_t>(identity.constants.size()));
  words.insert(words.end(), identity.constants.begin(), identity.constants.end());
  words.push_back(static_cast<std::int64_t>(results) * 2 +
                  static_cast<std::int64_t>(at::GradMode::is_enabled()));
  // Autocast and inference mode are dispatch keys that a thread adds or leaves out.
  c10::impl::LocalDispatchKeySet keys = c10::impl::tls_local_dispatch_key_set();
  words.push_back(static_cast<std::int64_t>(keys.included_.raw_repr()));
  words.push_back(static_cast<std::int64_t>(keys.excluded_.raw_repr()));
  for (const at::Tensor& input : inputs) {
    if (!input.defined() || input.layout() != at::kStrided) return false;
    words.push_back((static_cast<std::int64_t>(input.device().type()) << 32) +
                    (static_cast<std::int64_t>(input.device().index()) << 16) +
                    (static_cast<std::int64_t>(input.scalar_type()) << 2) +
                    (input.is_conj() ? 2 : 0) + (input.is_neg() ? 1 : 0));
    words.push_back(input.dim());
    for (const std::int64_t size : input.sizes()) words.push_back(size);
    for (const std::int64_t stride : input.strides()) words.push_back(stride);
  }
  std::uint64_t hash = 14'695'981'039'346'656'037U;  // FNV-1a, on words.
  for (const std::int64_t word : words) {
    hash = (hash ^ static_cast<std::uint64_t>(word)) * 1'099'511'628'211U;
    hash ^= hash >> 29U;
  }
  key.hash = static_cast<std::size_t>(hash);
  return true;
}

Tensors GraphCache::run(TaskContext& context, const GraphFunction& function, const Tensors& inputs,
                        GraphCall call) {
  Key key;
  Slot& slot = slots_.at(context.stream());
  if (call.use == GraphUse::kNever || !make_key(function, inputs, call.results, key)) {
    if (call.use == GraphUse::kAlways) {
      throw NotCapturable("an input of the call is no dense tensor, so it cannot be captured");
    }
    return run_eagerly(function, inputs, call.results, nullptr, slot, key, call.use);
  }
  if (std::optional<Tensors> outputs = replay(slot, key, inputs)) return *std::move(outputs);
  const std::shared_ptr<Known> known = known_of(key);
  return run_eagerly(function, inputs, call.results, known, slot, key, call.use);
}

std::optional<Tensors> GraphCache::replay(Slot& slot, const Key& key, const Tensors& inputs) {
  try {
    const Use use(slot, key);
    if (use.entry() == nullptr) return std::nullopt;
    // Relaxed: an estimate of age.
    use.entry()->last_use = clock_.fetch_add(1, std::memory_order_relaxed);
    Tensors outputs = use.entry()->graph->replay(inputs);
    replays_.fetch_add(1, std::memory_order_relaxed);
    return outputs;
  } catch (const std::exception& error) {
    // After the use, as this graph may go, too.
    if (is_out_of_memory(error)) ran_out_of_memory();
    throw;
  }
}

void GraphCache::ran_out_of_memory() {
  // Whoever captures next makes room for the others, unless it can be done now.
  out_of_memory_.store(true, std::memory_order_relaxed);
  try {
    static_cast<void>(executor_.run(as_graph("give up graphs"), [this] {
      out_of_memory_.store(false, std::memory_order_relaxed);
      give_up(0, 0);
      device_->give_back_memory();
    }));
  } catch (const NestedWaitError&) {
  }
}

void GraphCache::remember(const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (refusals_.size() < kMostRefusals) refusals_.push_back(why);
}

std::shared_ptr<GraphCache::Known> GraphCache::known_of(const Key& key) {
  const std::lock_guard lock(mutex_);
  if (known_.size() >= kMostKnown) {
    // Shapes that hardly repeat: those without a graph begin anew.
    for (auto at = known_.begin(); at != known_.end();) {
      at = at->second.use_count() == 1 ? known_.erase(at) : std::next(at);
    }
  }
  std::shared_ptr<Known>& known = known_[key];
  if (!known) known = std::make_shared<Known>();
  return known;
}

Tensors GraphCache::run_eagerly(const GraphFunction& function, const Tensors& inputs,
                                GraphResults results, const std::shared_ptr<Known>& known,
                                Slot& slot, const Key& key, GraphUse use) {
  if (use == GraphUse::kAlways && known->refused.load(std::memory_order_acquire)) {
    const std::lock_guard lock(mutex_);
    throw NotCapturable(known->why);
  }
  eager_.fetch_add(1, std::memory_order_relaxed);
  clock_.fetch_add(1, std::memory_order_relaxed);  // By which those in the cache grow old, too.
  try {
    const Tensors placed = device_->on_device(inputs);
    Tensors outputs = function(placed);
    if (known != nullptr && !known->refused.load(std::memory_order_acquire)) {
      const std::size_t uses = 1 + known->uses.fetch_add(1, std::memory_order_relaxed);
      // What has just run has also warmed up: whatever libtorch makes at the first use on this
      // stream is made, and the capture executes nothing, so the call's effects happen once.
      const bool pays = !known->saves_nothing.load(std::memory_order_relaxed);
      const bool settled = uses > function.identity().first_runs;
      if (settled && (use == GraphUse::kAlways || (pays && uses > options_.eager_uses))) {
        if (use == GraphUse::kAlways || has_room()) {
          try_capture(function, inputs, outputs, results, known, slot, key, use);
        } else {
          deferred_.fetch_add(1, std::memory_order_relaxed);
        }
      }
    }
    if (use == GraphUse::kAlways && known->refused.load(std::memory_order_acquire)) {
      const std::lock_guard lock(mutex_);
      throw NotCapturable(known->why);
    }
    return results == GraphResults::kHost ? device_->on_host(outputs) : outputs;
  } catch (const std::exception& error) {
    if (is_out_of_memory(error)) ran_out_of_memory();
    throw;
  }
}

bool GraphCache::has_room() noexcept {
  const std::size_t graphs = graphs_.load(std::memory_order_relaxed);
  const std::size_t bytes = bytes_.load(std::memory_order_relaxed);
  if (graphs == 0) return true;
  if (graphs < options_.max_graphs && bytes + bytes / graphs <= options_.max_bytes) return true;
  // Full. When even the oldest was used not long ago, those in the cache are the calls of now, in
  // more shapes than fit: to capture this one would give up one that comes again at once, and so on
  // without end.
  const std::uint64_t now = clock_.load(std::memory_order_relaxed);
  for (Slot& slot : slots_) {
    const std::lock_guard lock(slot.mutex);
    for (const auto& [key, entry] : slot.entries) {
      if (!entry.in_use && now - entry.last_use > 4 * graphs) return true;
    }
  }
  return false;
}

void GraphCache::try_capture(const GraphFunction& function, const Tensors& inputs,
                             const Tensors& outputs, GraphResults results,
                             const std::shared_ptr<Known>& known, Slot& slot, const Key& key,
                             GraphUse use) {
  if (std::any_of(outputs.begin(), outputs.end(), [](const at::Tensor& output) {
        return output.defined() && output.requires_grad();
      })) {
    refuse(*known, "its results need gradients, which a replay has not");
    return;
  }
  try {
    // Within this task, on its stream: so the graph belongs to the slot from its first kernel on,
    // and whatever libtorch keeps for each stream (the workspace of a matrix product, say) is the
    // slot's, too, and never that of a replay beside it.
    static_cast<void>(executor_.run(as_graph("capture"), [&] {
      capture(function, inputs, outputs, results, known, slot, key, use);
    }));
  } catch (const NestedWaitError&) {
    // Somebody else captures. This call has its result; the next one tries again.
    deferred_.fetch_add(1, std::memory_order_relaxed);
  }
}

void GraphCache::capture(const GraphFunction& function, const Tensors& inputs,
                         const Tensors& outputs, GraphResults results,
                         const std::shared_ptr<Known>& known, Slot& slot, const Key& key,
                         GraphUse use) {
  if (out_of_memory_.exchange(false, std::memory_order_relaxed)) {
    give_up(0, 0);
    device_->give_back_memory();
  }
  std::unique_ptr<CapturedGraph> graph;
  try {
    graph = device_->capture(function, inputs, outputs, results);
  } catch (const NotCapturable& error) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    refuse(*known, error.what());
    return;
  } catch (const std::exception& error) {
    if (!is_out_of_memory(error)) throw;
    failures_.fetch_add(1, std::memory_order_relaxed);
    give_up(0, 0);
    device_->give_back_memory();
    return;
  }
  if (use == GraphUse::kAuto && !graph->pays()) {
    known->saves_nothing.store(true, std::memory_order_relaxed);
    remember("a replay would start as much work as the call itself");
    return;
  }
  const std::size_t bytes = graph->bytes();
  if (bytes > options_.max_bytes) {
    failures_.fetch_add(1, std::memory_order_relaxed);
    refuse(*known, "its graph takes " + std::to_string(bytes) + " bytes, more than the " +
                       std::to_string(options_.max_bytes) + " of the cache");
    return;
  }
  captures_.fetch_add(1, std::memory_order_relaxed);
  give_up(options_.max_bytes - bytes, options_.max_graphs - 1);
  const std::lock_guard lock(slot.mutex);
  Entry& entry = slot.entries[key];
  entry.known = known;
  entry.uses = function.identity().uses;
  entry.graph = std::move(graph);
  entry.last_use = clock_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(bytes, std::memory_order_relaxed);
  graphs_.fetch_add(1, std::memory_order_relaxed);
}

void GraphCache::refuse(Known& known, const std::string& why) {
  const std::lock_guard lock(mutex_);
  if (known.refused.load(std::memory_order_relaxed)) return;
  known.why = why;
  if (refusals_.size() < kMostRefusals) refusals_.push_back(why);
  // Release: pairs with the loads of who then reads why.
  known.refused.store(true, std::memory_order_release);
}

void GraphCache::give_up(std::size_t bytes, std::size_t graphs) {
  // The permit makes this the only one that adds or removes; replays go on meanwhile.
  while (bytes_.load(std::memory_order_relaxed) > bytes ||
         graphs_.load(std::memory_order_relaxed) > graphs) {
    Slot* oldest_slot = nullptr;
    Key oldest_key;
    std::uint64_t oldest = 0;
    for (Slot& slot : slots_) {
      const std::lock_guard lock(slot.mutex);
      for (const auto& [key, entry] : slot.entries) {
        if (entry.in_use) continue;
        if (oldest_slot == nullptr || entry.last_use < oldest) {
          oldest_slot = &slot;
          oldest_key = key;
          oldest = entry.last_use;
        }
      }
    }
    if (oldest_slot == nullptr) return;  // All are in use: a little more than allowed, for a while.
    std::shared_ptr<const void> uses;    // Ends after the graph.
    std::unique_ptr<CapturedGraph> graph;
    {
      const std::lock_guard lock(oldest_slot->mutex);
      const auto found = oldest_slot->entries.find(oldest_key);
      // It may have come into use since.
      if (found->second.in_use) continue;
      graph = std::move(found->second.graph);
      uses = std::move(found->second.uses);
      oldest_slot->entries.erase(found);
    }
    bytes_.fetch_sub(graph->bytes(), std::memory_order_relaxed);
    graphs_.fetch_sub(1, std::memory_order_relaxed);
    evicted_.fetch_add(1, std::memory_order_relaxed);
    // Without a lock, as it waits for the device.
    graph.reset();
  }
}

void GraphCache::give_up_all() noexcept {
  for (Slot& slot : slots_) slot.entries.clear();
  graphs_ = 0;
  bytes_ = 0;
}

void GraphCache::trim(std::size_t bytes) {
  static_cast<void>(executor_.run(as_graph("give up graphs"), [&] {
    give_up(bytes, options_.max_graphs);
    device_->give_back_memory();
  }));
}

GraphCacheSnapshot GraphCache::snapshot() const {
  GraphCacheSnapshot now{.replays = replays_,
                         .eager = eager_,
                         .captures = captures_,
                         .failures = failures_,
                         .deferred = deferred_,
                         .evicted = evicted_,
                         .graphs = graphs_,
                         .bytes = bytes_,
                         .max_bytes = options_.max_bytes};
  const std::lock_guard lock(mutex_);
  now.not_capturable = refusals_;
  return now;
}

}  // namespace streamgate::executor
