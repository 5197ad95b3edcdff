// The native module: binding.d.ts in Node-API. No arithmetic.
#include <napi.h>

#include <new>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "arguments.h"
#include "calls.h"
#include "cpu/backend.h"
#include "errors.h"
#include "fields.h"
#include "plan_writer.h"
#include "problem_reader.h"

namespace fovea::addon {
namespace {

Napi::Error codedError(Napi::Env env, const char* code, const char* message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  return error;
}

/// Runs body, and gives what it throws the code that JavaScript goes by.
template <class Body>
auto withCodes(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const BoundsError& error) {
    throw codedError(env, "ERR_FOVEA_BOUNDS", error.what());
  } catch (const std::bad_alloc&) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", "out of memory");
  } catch (const std::length_error& error) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", error.what());
  } catch (const std::system_error& error) {
    throw codedError(env, "ERR_FOVEA_OUT_OF_MEMORY", error.what());  // a thread could not be started
  } catch (const std::runtime_error& error) {
    throw codedError(env, "ERR_FOVEA_OPTION", error.what());  // the backend's, about the environment variables
  }
}

template <class Names>
Napi::Array frozenNames(Napi::Env env, const Names& names) {
  auto array = Napi::Array::New(env);
  uint32_t index = 0;
  for (const auto& name : names) array.Set(index++, Napi::String::New(env, name));
  array.Freeze();
  return array;
}

std::vector<std::string> kernelNames() {
  std::vector<std::string> names;
  for (int kernel = 0; kernel < kernelCount; ++kernel) names.push_back(kernelName(static_cast<Kernel>(kernel)));
  return names;
}

/// One per environment: the main thread and each Worker that loads the module.
class Addon : public Napi::Addon<Addon> {
 public:
  Addon(Napi::Env env, Napi::Object exports) : calls_(env) {
    DefineAddon(exports, {
                             InstanceValue("version", Napi::String::New(env, FOVEA_VERSION), napi_enumerable),
                             InstanceValue("problemFields", frozenNames(env, problemFieldNames), napi_enumerable),
                             InstanceValue("sequenceFields", frozenNames(env, sequenceFieldNames()), napi_enumerable),
                             InstanceValue("planFields", frozenNames(env, planFieldNames), napi_enumerable),
                             InstanceValue("planPartFields", frozenNames(env, planPartFieldNames), napi_enumerable),
                             InstanceValue("kernels", frozenNames(env, kernelNames()), napi_enumerable),
                             InstanceMethod("cpu", &Addon::cpu, napi_enumerable),
                             InstanceMethod("setThreads", &Addon::setThreads, napi_enumerable),
                             InstanceMethod("explain", &Addon::explain, napi_enumerable),
                             InstanceMethod("attentionSync", &Addon::attentionSync, napi_enumerable),
                             InstanceMethod("attention", &Addon::attention, napi_enumerable),
                             InstanceMethod("cancel", &Addon::cancel, napi_enumerable),
                         });
  }

 private:
  Napi::Value cpu(const Napi::CallbackInfo& call) {
    const Napi::Env env = call.Env();
    const cpu::Info info = withCodes(env, [] { return cpu::info(); });
    auto result = Napi::Object::New(env);
    result.Set("name", info.name);
    result.Set("cores", info.cores);
    result.Set("threads", info.threads);
    result.Set("instructionSet", info.instructionSet);
    auto sets = Napi::Array::New(env);
    for (uint32_t i = 0; i < info.instructionSets.size(); ++i) sets.Set(i, info.instructionSets[i]);
    result.Set("instructionSets", sets);
    return result;
  }

  void setThreads(const Napi::CallbackInfo& call) {
    const int count = call[0].ToNumber().Int32Value();
    withCodes(call.Env(), [&] {
      if (count < 1) throw BoundsError("count: expected at least 1, got " + std::to_string(count));
      cpu::setThreads(count);
    });
  }

  void explain(const Napi::CallbackInfo& call) {
    const Napi::Env env = call.Env();
    withCodes(env, [&] {
      const OwnedProblem owned = readProblemWithoutStorages(numbersOf(env, call[0], "problem"));
      writePlan(cpu::plan(owned.problem), numbersOf(env, call[1], "plan"));
    });
  }

  void attentionSync(const Napi::CallbackInfo& call) {
    const Napi::Env env = call.Env();
    withCodes(env, [&] {
      const OwnedProblem owned = problemOf(env, call[0], elementsOf(env, call[1], "storages"));
      const Plan plan = cpu::plan(owned.problem);
      writePlan(plan, numbersOf(env, call[2], "plan"));
      if (cpu::run(owned.problem, plan) == cpu::Outcome::outOfMemory) throw std::bad_alloc();
    });
  }

  Napi::Value attention(const Napi::CallbackInfo& call) {
    const Napi::Env env = call.Env();
    return withCodes(env, [&]() -> Napi::Value {
      const std::vector<napi_value> storages = elementsOf(env, call[1], "storages");
      OwnedProblem owned = problemOf(env, call[0], storages);
      Plan plan = cpu::plan(owned.problem);
      writePlan(plan, numbersOf(env, call[2], "plan"));
      if (!call[3].IsFunction()) throw BoundsError("settled: expected a function");
      const uint32_t id = calls_.start(env, std::move(owned), std::move(plan), storages, call[3].As<Napi::Function>());
      return Napi::Number::New(env, id);
    });
  }

  void cancel(const Napi::CallbackInfo& call) { calls_.cancel(call[0].ToNumber().Uint32Value()); }

  static OwnedProblem problemOf(napi_env env, napi_value problem, const std::vector<napi_value>& storages) {
    std::vector<Bytes> memory;
    memory.reserve(storages.size());
    for (napi_value storage : storages) memory.push_back(bytesOf(env, storage, "storages"));
    return readProblem(numbersOf(env, problem, "problem"), memory);
  }

  Calls calls_;
};

NODE_API_ADDON(Addon)

}  // namespace
}  // namespace fovea::addon
