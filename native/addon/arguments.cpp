#include "arguments.h"

#include <cmath>
#include <string>

#include "errors.h"

namespace fovea::addon {
namespace {

size_t elementBytes(napi_typedarray_type type) {
  switch (type) {
    case napi_int16_array:
    case napi_uint16_array:
    case napi_float16_array:
      return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array:
      return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array:
      return 8;
    default:
      return 1;
  }
}

}  // namespace

std::optional<std::span<std::byte>> findBytes(napi_env env, napi_value value) {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) == napi_ok) {
    return std::span{static_cast<std::byte*>(data), data ? length * elementBytes(type) : 0};
  }
  if (napi_get_dataview_info(env, value, &length, &data, nullptr, nullptr) == napi_ok) {
    return std::span{static_cast<std::byte*>(data), data ? length : 0};
  }
  return std::nullopt;
}

std::span<std::byte> bytesOf(napi_env env, napi_value value, const char* name) {
  if (const auto bytes = findBytes(env, value)) return *bytes;
  throw BoundsError(std::string(name) + ": expected an ArrayBufferView");
}

int64_t integerOf(napi_env env, napi_value value, const char* name, int64_t low) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= static_cast<double>(low)) ||
      number > 9007199254740992.0 || number != std::trunc(number)) {
    throw BoundsError(std::string(name) + ": expected an integer from " + std::to_string(low) + " to 2^53");
  }
  return static_cast<int64_t>(number);
}

std::span<double> numbersOf(napi_env env, napi_value value, const char* name) {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || !data) {
    throw BoundsError(std::string(name) + ": expected a Float64Array");
  }
  return {static_cast<double*>(data), length};
}

std::vector<napi_value> elementsOf(napi_env env, napi_value value, const char* name) {
  uint32_t length = 0;
  if (napi_get_array_length(env, value, &length) != napi_ok) {
    throw BoundsError(std::string(name) + ": expected an array");
  }
  std::vector<napi_value> elements(length);
  for (uint32_t i = 0; i < length; ++i) napi_get_element(env, value, i, &elements[i]);
  return elements;
}

}  // namespace fovea::addon
