// JavaScript arguments as memory. Plain Node-API: these run for every call, and neither handles nor objects are made.
#pragma once
#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace fovea::addon {

/// The memory of an ArrayBufferView; empty when its buffer is detached. None if `value` is anything else.
std::optional<std::span<std::byte>> findBytes(napi_env env, napi_value value);

/// The same. Throws BoundsError for anything else.
std::span<std::byte> bytesOf(napi_env env, napi_value value, const char* name);

/// A number that is an integer from `low` to 2^53. Throws BoundsError for anything else.
int64_t integerOf(napi_env env, napi_value value, const char* name, int64_t low);

/// The numbers of a Float64Array. Throws BoundsError for anything else.
std::span<double> numbersOf(napi_env env, napi_value value, const char* name);

/// The elements of an array. Throws BoundsError for anything else.
std::vector<napi_value> elementsOf(napi_env env, napi_value value, const char* name);

}  // namespace fovea::addon
