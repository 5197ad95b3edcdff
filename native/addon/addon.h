// The native module: binding.d.ts in Node-API. No arithmetic.
#pragma once
#include <napi.h>

#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include "calls.h"
#include "cuda/types.h"
#include "errors.h"
#include "gpus.h"

namespace fovea::addon {

/// One per environment: the main thread and each Worker that loads the module.
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports);

 private:
  using Arguments = Napi::CallbackInfo;

  // addon.cpp
  Napi::Value cpu(const Arguments& call);
  void setThreads(const Arguments& call);
  void explain(const Arguments& call);
  void attentionSync(const Arguments& call);
  Napi::Value attention(const Arguments& call);
  void mergeAttentionSync(const Arguments& call);
  Napi::Value mergeAttention(const Arguments& call);
  void cancel(const Arguments& call);
  Napi::Value address(const Arguments& call);
  void preferHugePages(const Arguments& call);
  void storeSync(const Arguments& call);
  Napi::Value store(const Arguments& call);

  // gpu_functions.cpp
  Napi::Value cuda(const Arguments& call);
  Napi::Value cudaMemory(const Arguments& call);
  Napi::Value streamHandle(const Arguments& call);
  Napi::Value synchronize(const Arguments& call);
  Napi::Value allocate(const Arguments& call);
  Napi::Value adopt(const Arguments& call);
  void release(const Arguments& call);
  Napi::Value pointer(const Arguments& call);
  void clear(const Arguments& call);
  void writeNow(const Arguments& call);
  Napi::Value write(const Arguments& call);
  Napi::Value read(const Arguments& call);
  void copyElements(const Arguments& call);
  void leave(const Arguments& call);

  // The order matters: cleanup hooks run last in, first out.
  Gpus gpus_;
  Calls calls_;
};

Napi::Error codedError(Napi::Env env, const char* code, const char* message);

inline const char* codeOf(cuda::ErrorKind kind) {
  switch (kind) {
    case cuda::ErrorKind::outOfMemory:
      return "ERR_FOVEA_OUT_OF_MEMORY";
    case cuda::ErrorKind::lost:
      return "ERR_FOVEA_DEVICE_LOST";
    default:
      return "ERR_FOVEA_DEVICE";
  }
}

/// Runs body, and gives what it throws the code that JavaScript goes by.
template <class Body>
auto withCodes(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const BoundsError& error) {
    throw codedError(env, "ERR_FOVEA_BOUNDS", error.what());
  } catch (const cuda::Error& error) {
    throw codedError(env, codeOf(error.kind), error.what());
  } catch (const OutOfMemory& error) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", error.what());
  } catch (const std::bad_alloc&) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", "not enough memory for what the call is written down in");
  } catch (const std::length_error& error) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", error.what());
  } catch (const std::invalid_argument& error) {
    throw codedError(env, "ERR_FOVEA_OPTION", error.what());  // the planner's, about what no kernel computes
  } catch (const std::system_error& error) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", error.what());  // a thread could not be started
  } catch (const std::runtime_error& error) {
    throw codedError(env, "ERR_FOVEA_OPTION", error.what());  // the CPU backend's, about the environment variables
  }
}

/// How work on a GPU ended, in the numbers of binding.d.ts.
inline How howOf(cuda::Outcome outcome) {
  switch (outcome) {
    case cuda::Outcome::done:
      return How::done;
    case cuda::Outcome::aborted:
      return How::aborted;
    case cuda::Outcome::outOfMemory:
      return How::outOfMemory;
    case cuda::Outcome::deviceLost:
      return How::deviceLost;
    case cuda::Outcome::failed:
      break;
  }
  return How::failed;
}

}  // namespace fovea::addon
