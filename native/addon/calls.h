// The asynchronous calls of one Node environment: what they hold, how they settle, and how they end with it.
#pragma once
#include <napi.h>

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "attention/plan.h"
#include "cpu/backend.h"
#include "problem_reader.h"

namespace fovea::addon {

class Calls {
 public:
  explicit Calls(Napi::Env env);
  ~Calls();

  /// Enqueues a call. `settled` is called once, with an Outcome, from the event loop; until then `storages` stay
  /// referenced and the event loop alive. Returns the call's id.
  uint32_t start(Napi::Env env, OwnedProblem problem, Plan plan, const std::vector<napi_value>& storages,
                 Napi::Function settled);

  /// Unknown ids are ignored: the call has settled.
  void cancel(uint32_t id);

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
