// The asynchronous calls of one Node environment: what they hold, how they settle, and how they end with it.
#pragma once
#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace fovea::addon {

/// How a call ended, by the numbers of binding.d.ts.
enum class How : uint8_t { done, aborted, outOfMemory, deviceLost, failed };

class Calls {
 public:
  explicit Calls(Napi::Env env);
  ~Calls();

  /// Tells how a call ended, from any thread, exactly once. The message says what prevented it.
  using Report = std::function<void(How how, std::string message)>;
  /// Begins the work, and returns what cancels it. Reports nothing when it throws.
  using Begin = std::function<std::function<void()>(Report)>;

  /// Begins a call. `settled` is called once, with a How, a message and the milliseconds since its end, from the event
  /// loop; until then `storages` stay referenced and the event loop alive. Returns the call's id.
  uint32_t start(Napi::Env env, const std::vector<napi_value>& storages, Napi::Function settled, const Begin& begin);

  /// Unknown ids are ignored: the call has settled.
  void cancel(uint32_t id);

  /// Cancels every call.
  void cancelAll();

 private:
  struct Call;
  struct Shared;

  static void settle(Napi::Env env, Napi::Function, Calls* calls, Call* call);
  using Queue = Napi::TypedThreadSafeFunction<Calls, Call, settle>;

  void end();
  void forget(uint32_t id);

  // Only the environment's thread touches these.
  const napi_env env_;
  Queue queue_;
  uint32_t nextId_ = 1;
  std::unordered_map<uint32_t, std::unique_ptr<Call>> calls_;

  std::shared_ptr<Shared> shared_;
};

}  // namespace fovea::addon
