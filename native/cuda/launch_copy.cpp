#include "launch_copy.h"

#include <algorithm>

namespace fovea::cuda {
namespace {

constexpr int64_t vectorBytes = 16;
constexpr int blocksPerMultiprocessor = 32;  // four times what is resident: enough to even out the last of them

struct Dimension {
  int64_t size, stride;  // in bytes
};

const char* nameOf(ElementType type) {
  switch (type) {
    case ElementType::float32:
      return "float32";
    case ElementType::float16:
      return "float16";
    case ElementType::bfloat16:
      return "bfloat16";
    case ElementType::int32:
      return "int32";
    case ElementType::boolean:
      return "bool";
  }
  return "";
}

bool isFloating(ElementType type) { return type != ElementType::int32 && type != ElementType::boolean; }

void check(bool holds, const std::string& expectation) {
  if (!holds) throw std::invalid_argument("copyElements: expected " + expectation);
}

void checkCopy(const ElementCopy& copy) {
  check(copy.fromType == copy.toType || (isFloating(copy.fromType) && isFloating(copy.toType)),
        std::string("the same type or two floating-point types, got ") + nameOf(copy.fromType) + " to " +
            nameOf(copy.toType));
  check(copy.strides.size() == copy.shape.size(), "as many strides as dimensions, got " +
                                                      std::to_string(copy.strides.size()) + " and " +
                                                      std::to_string(copy.shape.size()));
  check(std::all_of(copy.shape.begin(), copy.shape.end(), [](int64_t size) { return size >= 0; }),
        "dimensions of 0 or more");
  check(copy.from % uint64_t(byteSize(copy.fromType)) == 0 && copy.to % uint64_t(byteSize(copy.toType)) == 0,
        "pointers that are multiples of their element's size");
}

/// Outermost first, without dimensions of size 1, neighbours joined where one stride steps over both. At least one.
std::vector<Dimension> joinDimensions(const ElementCopy& copy) {
  const int64_t size = byteSize(copy.fromType);
  std::vector<Dimension> joined;
  for (size_t i = 0; i < copy.shape.size(); i++) {
    const Dimension next{copy.shape[i], copy.strides[i] * size};
    if (next.size == 1) continue;
    if (!joined.empty() && joined.back().stride == next.stride * next.size)
      joined.back() = {joined.back().size * next.size, next.stride};
    else
      joined.push_back(next);
  }
  if (joined.empty()) joined.push_back({1, size});
  check(joined.size() <= maxCopyRank, "at most " + std::to_string(maxCopyRank) +
                                          " dimensions that cannot be joined, got " + std::to_string(joined.size()));
  return joined;
}

/// Whether runs of `bytes` of the innermost dimension can be read together, wherever they are.
bool runsAlign(const ElementCopy& copy, const std::vector<Dimension>& dimensions, int64_t bytes) {
  const int64_t size = byteSize(copy.fromType);
  return dimensions.back().stride == size && copy.from % uint64_t(bytes) == 0 && copy.to % uint64_t(bytes) == 0 &&
         std::all_of(dimensions.begin(), dimensions.end() - 1,
                     [&](const Dimension& dimension) { return dimension.stride % bytes == 0; });
}

/// A piece whose units are `elements` of the innermost dimension.
CopyPiece makePiece(CopyKernel kernel, const ElementCopy& copy, std::vector<Dimension> dimensions, int64_t elements) {
  dimensions.back().size /= elements;
  dimensions.back().stride *= elements;
  if (dimensions.size() > 1 && dimensions.back().size == 1) dimensions.pop_back();
  CopyPiece piece{kernel, {}};
  CopyArguments& arguments = piece.arguments;
  arguments.from = reinterpret_cast<const char*>(uintptr_t(copy.from));
  arguments.to = reinterpret_cast<char*>(uintptr_t(copy.to));
  arguments.fromType = copy.fromType;
  arguments.toType = copy.toType;
  arguments.unitBytes = int32_t(elements * byteSize(copy.fromType));
  arguments.rank = int32_t(dimensions.size());
  arguments.count = 1;
  for (size_t i = 0; i < dimensions.size(); i++) {
    arguments.shape[i] = dimensions[i].size;
    arguments.strides[i] = dimensions[i].stride;
    arguments.count *= dimensions[i].size;
  }
  return piece;
}

CopyPiece planUnits(const ElementCopy& copy, const std::vector<Dimension>& dimensions) {
  const int64_t size = byteSize(copy.fromType), run = dimensions.back().size * size;
  if (dimensions.size() == 1 && dimensions[0].stride == size) {
    CopyPiece piece = makePiece(CopyKernel::none, copy, dimensions, 1);
    piece.arguments.count *= size;
    return piece;
  }
  int64_t bytes = vectorBytes;
  while (bytes > size && !(run % bytes == 0 && runsAlign(copy, dimensions, bytes))) bytes /= 2;
  return makePiece(CopyKernel::units, copy, dimensions, bytes / size);
}

std::vector<CopyPiece> planConversion(const ElementCopy& copy, const std::vector<Dimension>& dimensions) {
  const int64_t run = dimensions.back().size, rest = run % convertVector;
  if (run < convertVector || !runsAlign(copy, dimensions, vectorBytes) || (rest > 0 && dimensions.size() > 1))
    return {makePiece(CopyKernel::convert, copy, dimensions, 1)};
  std::vector<CopyPiece> pieces{makePiece(CopyKernel::vectors, copy, dimensions, convertVector)};
  if (rest > 0) {  // the end of a contiguous array
    ElementCopy left = copy;
    left.from += uint64_t((run - rest) * byteSize(copy.fromType));
    left.to += uint64_t((run - rest) * byteSize(copy.toType));
    pieces.push_back(makePiece(CopyKernel::convert, left, {{rest, dimensions[0].stride}}, 1));
  }
  return pieces;
}

const char* functionOf(CopyKernel kernel) {
  return kernel == CopyKernel::units     ? "fovea_copy_units"
         : kernel == CopyKernel::vectors ? "fovea_convert_vectors"
                                         : "fovea_convert_elements";
}

}  // namespace

std::vector<CopyPiece> planElementCopy(const ElementCopy& copy) {
  checkCopy(copy);
  if (std::find(copy.shape.begin(), copy.shape.end(), 0) != copy.shape.end()) return {};
  const std::vector<Dimension> dimensions = joinDimensions(copy);
  if (copy.fromType == copy.toType) return {planUnits(copy, dimensions)};
  return planConversion(copy, dimensions);
}

void launchElementCopy(Device& device, CUstream stream, const std::vector<CopyPiece>& pieces) {
  for (CopyPiece piece : pieces) {
    CopyArguments& arguments = piece.arguments;
    if (piece.kernel == CopyKernel::none) {
      device.check(driver().cuMemcpyDtoDAsync(CUdeviceptr(uintptr_t(arguments.to)),
                                              CUdeviceptr(uintptr_t(arguments.from)), size_t(arguments.count), stream),
                   "copying on the device");
      continue;
    }
    const int64_t needed = (arguments.count + copyThreads - 1) / copyThreads;
    const auto blocks = unsigned(std::min<int64_t>(needed, blocksPerMultiprocessor * device.info().multiprocessors));
    const KernelImage kernel{images::copy, functionOf(piece.kernel)};
    void* parameters[] = {&arguments};
    device.check(driver().cuLaunchKernel(device.function(kernel), blocks, 1, 1, copyThreads, 1, 1, 0, stream,
                                         parameters, nullptr),
                 ("launching " + kernel.function).c_str());
  }
}

}  // namespace fovea::cuda
