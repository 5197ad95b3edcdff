#include "calls.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>

namespace fovea::addon {

struct Calls::Call {
  uint32_t id;
  Napi::Reference<Napi::Array> storages;
  Napi::FunctionReference settled;
  std::function<void()> cancel;
  How how = How::done;
  std::string message;
  std::chrono::steady_clock::time_point end;
};

/// What the backends' threads touch. They hold it by shared_ptr, as it may outlive the environment by the end of a
/// callback.
struct Calls::Shared {
  std::mutex mutex;
  std::condition_variable idle;
  int64_t running = 0;  // calls whose memory may still be touched
  bool ended = false;   // the environment is going: nobody may be told
};

// Environments run their cleanup hooks last in, first out: end() comes before the queue closes, the queue before the
// instance goes and memory is freed.
Calls::Calls(Napi::Env env)
    : env_(env), queue_(Queue::New(env, "fovea", 0, 1, this)), shared_(std::make_shared<Shared>()) {
  queue_.Unref(env);
  env.AddCleanupHook([](Calls* calls) { calls->end(); }, this);
}

Calls::~Calls() = default;

uint32_t Calls::start(Napi::Env env, const std::vector<napi_value>& storages, Napi::Function settled,
                      const Begin& begin) {
  const uint32_t id = nextId_++;
  auto owned = std::make_unique<Call>();
  Call* call = owned.get();
  call->id = id;
  // A list of our own: the caller may reuse the one it passed.
  auto held = Napi::Array::New(env, storages.size());
  for (uint32_t i = 0; i < storages.size(); ++i) held.Set(i, storages[i]);
  call->storages = Napi::Persistent(held);
  call->settled = Napi::Persistent(settled);

  calls_.emplace(id, std::move(owned));
  if (calls_.size() == 1) queue_.Ref(env);
  {
    const std::lock_guard lock(shared_->mutex);
    ++shared_->running;
  }
  try {
    call->cancel = begin([shared = shared_, queue = queue_, call](How how, std::string message) {
      const std::lock_guard lock(shared->mutex);
      call->how = how;
      call->message = std::move(message);
      call->end = std::chrono::steady_clock::now();
      if (!shared->ended) queue.NonBlockingCall(call);
      if (--shared->running == 0) shared->idle.notify_all();
    });
  } catch (...) {
    {
      const std::lock_guard lock(shared_->mutex);
      --shared_->running;
    }
    forget(id);
    throw;
  }
  return id;
}

void Calls::cancel(uint32_t id) {
  if (const auto found = calls_.find(id); found != calls_.end()) found->second->cancel();
}

/// On the environment's thread, for every call that the queue delivers.
void Calls::settle(Napi::Env env, Napi::Function, Calls* calls, Call* call) {
  if (static_cast<napi_env>(env) == nullptr) return;  // the queue is closing
  const Napi::HandleScope scope(env);
  const Napi::Function settled = call->settled.Value();
  const auto how = Napi::Number::New(env, static_cast<double>(call->how));
  const auto message = Napi::String::New(env, call->message);
  const std::chrono::duration<double, std::milli> sinceEnd = std::chrono::steady_clock::now() - call->end;
  calls->forget(call->id);
  settled.Call({how, message, Napi::Number::New(env, sinceEnd.count())});
}

void Calls::forget(uint32_t id) {
  calls_.erase(id);
  if (calls_.empty()) queue_.Unref(env_);
}

void Calls::cancelAll() {
  for (auto& [id, call] : calls_) call->cancel();
}

/// The environment is going. Its memory is freed after this returns, so every call is stopped and waited for.
void Calls::end() {
  cancelAll();
  {
    std::unique_lock lock(shared_->mutex);
    shared_->ended = true;
    shared_->idle.wait(lock, [this] { return shared_->running == 0; });
  }
  queue_.Abort();
  calls_.clear();
}

}  // namespace fovea::addon
