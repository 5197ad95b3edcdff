#include "addon.h"

#include <vector>

#include "arguments.h"
#include "cpu/backend.h"
#include "fields.h"
#include "merge_reader.h"
#include "plan_writer.h"
#include "problem_reader.h"
#include "store_reader.h"

namespace fovea::addon {
namespace {

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

int deviceOf(Napi::Env env, napi_value value) { return static_cast<int>(integerOf(env, value, "device", host)); }

std::vector<Memory> memoryOf(Napi::Env env, const std::vector<napi_value>& storages) {
  std::vector<Memory> memory;
  memory.reserve(storages.size());
  for (napi_value storage : storages) {
    if (const auto bytes = findBytes(env, storage)) {
      memory.push_back(Memory{*bytes});
    } else if (const auto onDevice = deviceBytesOf(env, storage)) {
      memory.push_back(*onDevice);
    } else {
      throw BoundsError("storages: expected an ArrayBufferView or device memory");
    }
  }
  return memory;
}

/// A problem for running on `device`. Its tensors may be there, or the host's.
OwnedProblem problemOf(Napi::Env env, napi_value problem, const std::vector<napi_value>& storages, int device) {
  OwnedProblem owned = readProblem(numbersOf(env, problem, "problem"), memoryOf(env, storages));
  for (const int place : {owned.tensors, owned.alibiSlopes, owned.sinks}) {
    if (place != host && place != device) throw BoundsError("storages: on another device than the one that computes");
  }
  return owned;
}

OwnedMerge mergeOf(Napi::Env env, napi_value merge, const std::vector<napi_value>& storages) {
  return readMerge(numbersOf(env, merge, "merge"), memoryOf(env, storages));
}

Plan planFor(int device, const Problem& problem) {
  return device == host ? cpu::plan(problem) : cuda::plan(device, problem);
}

cuda::Residence residenceOf(const OwnedProblem& owned) {
  return {.tensors = owned.tensors == host,
          .pageTable = true,
          .alibiSlopes = owned.alibiSlopes == host,
          .sinks = owned.sinks == host};
}

How howOf(cpu::Outcome outcome) {
  switch (outcome) {
    case cpu::Outcome::done:
      return How::done;
    case cpu::Outcome::aborted:
      return How::aborted;
    case cpu::Outcome::outOfMemory:
      break;
  }
  return How::outOfMemory;
}

std::string lackOf(int64_t workspaceBytes) {
  return "attention: not enough memory for " + std::to_string(workspaceBytes) +
         " bytes of workspace and the scratch of each thread";
}

constexpr const char* lackOfRow = "not enough memory for the scratch of each thread, a row in float32";

/// What to store on `device`, where tensors and pages are.
OwnedStores storesOf(Napi::Env env, napi_value fields, const std::vector<napi_value>& storages, int device) {
  OwnedStores owned = readStores(numbersOf(env, fields, "stores"), memoryOf(env, storages));
  if (!owned.stores.empty() && owned.device != device)
    throw BoundsError("storages: on another device than the one that computes");
  return owned;
}

void throwUnlessDone(const cuda::Result& result) {
  switch (result.outcome) {
    case cuda::Outcome::outOfMemory:
      throw cuda::Error(cuda::ErrorKind::outOfMemory, result.message);
    case cuda::Outcome::deviceLost:
      throw cuda::Error(cuda::ErrorKind::lost, result.message);
    case cuda::Outcome::failed:
      throw cuda::Error(cuda::ErrorKind::failed, result.message);
    default:
      return;
  }
}

}  // namespace

Napi::Error codedError(Napi::Env env, const char* code, const char* message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  return error;
}

Addon::Addon(Napi::Env env, Napi::Object exports) : gpus_(env), calls_(env) {
  DefineAddon(exports, {
                           InstanceValue("version", Napi::String::New(env, FOVEA_VERSION), napi_enumerable),
                           InstanceValue("problemFields", frozenNames(env, problemFieldNames), napi_enumerable),
                           InstanceValue("sequenceFields", frozenNames(env, sequenceFieldNames()), napi_enumerable),
                           InstanceValue("storeFields", frozenNames(env, storeFieldNames), napi_enumerable),
                           InstanceValue("planFields", frozenNames(env, planFieldNames), napi_enumerable),
                           InstanceValue("planPartFields", frozenNames(env, planPartFieldNames), napi_enumerable),
                           InstanceValue("mergeFields", frozenNames(env, mergeFieldNames), napi_enumerable),
                           InstanceValue("mergeViewFields", frozenNames(env, mergeViewFieldNames), napi_enumerable),
                           InstanceValue("kernels", frozenNames(env, kernelNames()), napi_enumerable),
                           InstanceMethod("cpu", &Addon::cpu, napi_enumerable),
                           InstanceMethod("setThreads", &Addon::setThreads, napi_enumerable),
                           InstanceMethod("explain", &Addon::explain, napi_enumerable),
                           InstanceMethod("attentionSync", &Addon::attentionSync, napi_enumerable),
                           InstanceMethod("attention", &Addon::attention, napi_enumerable),
                           InstanceMethod("mergeAttentionSync", &Addon::mergeAttentionSync, napi_enumerable),
                           InstanceMethod("mergeAttention", &Addon::mergeAttention, napi_enumerable),
                           InstanceMethod("cancel", &Addon::cancel, napi_enumerable),
                           InstanceMethod("address", &Addon::address, napi_enumerable),
                           InstanceMethod("preferHugePages", &Addon::preferHugePages, napi_enumerable),
                           InstanceMethod("storeSync", &Addon::storeSync, napi_enumerable),
                           InstanceMethod("store", &Addon::store, napi_enumerable),
                           InstanceMethod("cuda", &Addon::cuda, napi_enumerable),
                           InstanceMethod("cudaMemory", &Addon::cudaMemory, napi_enumerable),
                           InstanceMethod("streamHandle", &Addon::streamHandle, napi_enumerable),
                           InstanceMethod("synchronize", &Addon::synchronize, napi_enumerable),
                           InstanceMethod("allocate", &Addon::allocate, napi_enumerable),
                           InstanceMethod("adopt", &Addon::adopt, napi_enumerable),
                           InstanceMethod("release", &Addon::release, napi_enumerable),
                           InstanceMethod("pointer", &Addon::pointer, napi_enumerable),
                           InstanceMethod("clear", &Addon::clear, napi_enumerable),
                           InstanceMethod("writeNow", &Addon::writeNow, napi_enumerable),
                           InstanceMethod("write", &Addon::write, napi_enumerable),
                           InstanceMethod("read", &Addon::read, napi_enumerable),
                           InstanceMethod("copyElements", &Addon::copyElements, napi_enumerable),
                           InstanceMethod("leave", &Addon::leave, napi_enumerable),
                       });
}

Napi::Value Addon::cpu(const Arguments& call) {
  const Napi::Env env = call.Env();
  const cpu::Info info = withCodes(env, [] { return cpu::info(); });
  auto result = Napi::Object::New(env);
  result.Set("cores", info.cores);
  result.Set("threads", info.threads);
  result.Set("instructionSet", info.instructionSet);
  auto sets = Napi::Array::New(env);
  for (uint32_t i = 0; i < info.instructionSets.size(); ++i) sets.Set(i, info.instructionSets[i]);
  result.Set("instructionSets", sets);
  return result;
}

void Addon::setThreads(const Arguments& call) {
  withCodes(call.Env(), [&] { cpu::setThreads(static_cast<int>(integerOf(call.Env(), call[0], "count", 1))); });
}

void Addon::explain(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const OwnedProblem owned = readProblemWithoutStorages(numbersOf(env, call[1], "problem"));
    writePlan(planFor(deviceOf(env, call[0]), owned.problem), numbersOf(env, call[2], "plan"));
  });
}

void Addon::attentionSync(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const int device = deviceOf(env, call[0]);
    const OwnedProblem owned = problemOf(env, call[1], elementsOf(env, call[2], "storages"), device);
    const Plan plan = planFor(device, owned.problem);
    writePlan(plan, numbersOf(env, call[3], "plan"));
    if (device == host) {
      if (cpu::run(owned.problem, plan) == cpu::Outcome::outOfMemory) throw OutOfMemory(lackOf(plan.workspaceBytes));
    } else if (owned.tensors == host) {
      throwUnlessDone(cuda::run(gpus_.stream(device), owned.problem, plan, residenceOf(owned)));
    } else {
      cuda::enqueue(gpus_.stream(device), owned.problem, plan, residenceOf(owned));
    }
  });
}

Napi::Value Addon::attention(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    const int device = deviceOf(env, call[0]);
    const std::vector<napi_value> storages = elementsOf(env, call[2], "storages");
    const auto owned = std::make_shared<OwnedProblem>(problemOf(env, call[1], storages, device));
    const Problem& problem = owned->problem;
    Plan plan = planFor(device, problem);
    writePlan(plan, numbersOf(env, call[3], "plan"));
    if (!call[4].IsFunction()) throw BoundsError("settled: expected a function");

    bool ahead = false;
    if (call[5].IsBoolean()) ahead = call[5].As<Napi::Boolean>();

    // What is told the end keeps the problem until then.
    const auto onCpu = [&](Calls::Report report) -> std::function<void()> {
      auto settled = [owned, report = std::move(report), bytes = plan.workspaceBytes](cpu::Outcome outcome) {
        report(howOf(outcome), outcome == cpu::Outcome::outOfMemory ? lackOf(bytes) : std::string());
      };
      return [execution = cpu::start(problem, std::move(plan), std::move(settled), ahead)] { execution->cancel(); };
    };
    const auto onGpu = [&](Calls::Report report) -> std::function<void()> {
      auto settled = [owned, report = std::move(report)](const cuda::Result& result) {
        report(howOf(result.outcome), result.message);
      };
      return [execution = cuda::start(gpus_.stream(device), problem, plan, residenceOf(*owned), std::move(settled))] {
        cuda::cancel(*execution);
      };
    };
    const auto settled = call[4].As<Napi::Function>();
    const uint32_t id =
        device == host ? calls_.start(env, storages, settled, onCpu) : calls_.start(env, storages, settled, onGpu);
    return Napi::Number::New(env, id);
  });
}

void Addon::mergeAttentionSync(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const OwnedMerge owned = mergeOf(env, call[0], elementsOf(env, call[1], "storages"));
    if (owned.device != host) return cuda::enqueue(gpus_.stream(owned.device), owned.merge);
    if (cpu::run(owned.merge) == cpu::Outcome::outOfMemory) throw OutOfMemory(lackOfRow);
  });
}

Napi::Value Addon::mergeAttention(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    const std::vector<napi_value> storages = elementsOf(env, call[1], "storages");
    const auto owned = std::make_shared<OwnedMerge>(mergeOf(env, call[0], storages));
    if (!call[2].IsFunction()) throw BoundsError("settled: expected a function");
    const auto begin = [&](Calls::Report report) -> std::function<void()> {
      if (owned->device != host) {
        auto settled = [owned, report = std::move(report)](const cuda::Result& result) {
          report(howOf(result.outcome), result.message);
        };
        return [execution = cuda::start(gpus_.stream(owned->device), owned->merge, std::move(settled))] {
          cuda::cancel(*execution);
        };
      }
      auto settled = [owned, report = std::move(report)](cpu::Outcome outcome) { report(howOf(outcome), lackOfRow); };
      return [execution = cpu::start(owned->merge, std::move(settled))] { execution->cancel(); };
    };
    return Napi::Number::New(env, calls_.start(env, storages, call[2].As<Napi::Function>(), begin));
  });
}

void Addon::cancel(const Arguments& call) { calls_.cancel(call[0].ToNumber().Uint32Value()); }

Napi::Value Addon::address(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&] {
    const auto first = reinterpret_cast<uintptr_t>(bytesOf(env, call[0], "storage").data());
    return Napi::Number::New(env, static_cast<double>(first));  // user space has 47 bits, or 52: a double holds them
  });
}

void Addon::preferHugePages(const Arguments& call) {
  withCodes(call.Env(), [&] { cpu::preferHugePages(bytesOf(call.Env(), call[0], "storage")); });
}

void Addon::storeSync(const Arguments& call) {
  const Napi::Env env = call.Env();
  withCodes(env, [&] {
    const int device = deviceOf(env, call[0]);
    const OwnedStores owned = storesOf(env, call[1], elementsOf(env, call[2], "storages"), device);
    if (device != host)
      cuda::enqueue(gpus_.stream(device), owned.stores);
    else if (cpu::run(owned.stores) == cpu::Outcome::outOfMemory)
      throw OutOfMemory(lackOfRow);
  });
}

Napi::Value Addon::store(const Arguments& call) {
  const Napi::Env env = call.Env();
  return withCodes(env, [&]() -> Napi::Value {
    const int device = deviceOf(env, call[0]);
    const std::vector<napi_value> storages = elementsOf(env, call[2], "storages");
    const auto owned = std::make_shared<OwnedStores>(storesOf(env, call[1], storages, device));
    if (!call[3].IsFunction()) throw BoundsError("settled: expected a function");
    // What is told the end keeps the stores until then.
    const auto onCpu = [&](Calls::Report report) -> std::function<void()> {
      auto settled = [owned, report = std::move(report)](cpu::Outcome outcome) { report(howOf(outcome), lackOfRow); };
      return [execution = cpu::start(owned->stores, std::move(settled))] { execution->cancel(); };
    };
    const auto onGpu = [&](Calls::Report report) -> std::function<void()> {
      auto settled = [owned, report = std::move(report)](const cuda::Result& result) {
        report(howOf(result.outcome), result.message);
      };
      return [execution = cuda::start(gpus_.stream(device), owned->stores, std::move(settled))] {
        cuda::cancel(*execution);
      };
    };
    const auto settled = call[3].As<Napi::Function>();
    const uint32_t id =
        device == host ? calls_.start(env, storages, settled, onCpu) : calls_.start(env, storages, settled, onGpu);
    return Napi::Number::New(env, id);
  });
}

NODE_API_ADDON(Addon)

}  // namespace fovea::addon
