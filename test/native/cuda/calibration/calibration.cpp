#include "calibration.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iterator>

#include "../../../../native/cuda/tables.h"
#include "../device_case.h"
#include "formats.h"
#include "goldens.h"

// Made by EmbedFatbin.cmake, one per .cu file.
extern "C" {
extern const unsigned char fovea_image_calibrate_elements_begin[];
extern const unsigned char fovea_image_calibrate_warps_begin[];
extern const unsigned char fovea_image_calibrate_matrices_begin[];
extern const unsigned char fovea_image_calibrate_hopper_begin[];
extern const unsigned char fovea_image_calibrate_warpgroups_begin[];
}

namespace fovea::test {
namespace calibration {
namespace {

cuda::Image imageOf(Image image) {
  switch (image) {
    case Image::elements:
      return {"calibrate_elements", fovea_image_calibrate_elements_begin};
    case Image::warps:
      return {"calibrate_warps", fovea_image_calibrate_warps_begin};
    case Image::matrices:
      return {"calibrate_matrices", fovea_image_calibrate_matrices_begin};
    case Image::hopper:
      return {"calibrate_hopper", fovea_image_calibrate_hopper_begin};
    case Image::warpgroups:
      return {"calibrate_warpgroups", fovea_image_calibrate_warpgroups_begin};
  }
  return {};
}

/// What this device can run.
std::vector<Micro> allMicros() {
  std::vector<Micro> all;
  const auto add = [&](std::vector<Micro> more) { std::move(more.begin(), more.end(), std::back_inserter(all)); };
  add(elementMicros());
  add(warpMicros());
  add(matrixMicros());
  if (cuda::info().devices.at(0).computeMajor >= 9) add(hopperMicros());
  if (cuda::info().devices.at(0).computeMajor == 9) add(warpgroupMicros());
  return all;
}

CUtensorMap encode(cuda::Device& device, const Tensor& tensor, CUdeviceptr address) {
  const auto encodeTiled =
      reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(cuda::driver().find("cuTensorMapEncodeTiled", 12000));
  check(encodeTiled != nullptr, "the driver has no cuTensorMapEncodeTiled");
  const cuuint64_t sizes[] = {cuuint64_t(tensor.columns), cuuint64_t(tensor.rows)};
  const cuuint64_t strides[] = {cuuint64_t(tensor.stride) * 2};
  const cuuint32_t box[] = {cuuint32_t(tensor.boxColumns), cuuint32_t(tensor.boxRows)}, ones[] = {1, 1};
  const CUtensorMapSwizzle swizzle = tensor.swizzle == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : tensor.swizzle == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                     : tensor.swizzle == 32 ? CU_TENSOR_MAP_SWIZZLE_32B
                                                            : CU_TENSOR_MAP_SWIZZLE_NONE;
  CUtensorMap map;
  device.check(encodeTiled(&map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 2, reinterpret_cast<void*>(address), sizes, strides,
                           box, ones, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                           CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
               "a tensor map");
  return map;
}

cuda::TensorMap encode(cuda::Device& device, const MappedTensor& tensor, CUdeviceptr address) {
  const cuda::MapEncoder encoder(device, DType::float16);
  const auto data = reinterpret_cast<const void*>(address);
  const auto& of = tensor.dimensions;
  return of.size() == 2 ? encoder.encode(data, tensor.columns, tensor.padded, {of[0], of[1]})
                        : encoder.encode(data, tensor.columns, tensor.padded, {of[0], of[1], of[2]});
}

Words run(const Micro& micro) {
  const auto stream = cuda::open(0);
  cuda::Device& device = stream->device();
  const auto bytesOf = [](const Words& words) { return int64_t(words.size() * sizeof(uint32_t)); };
  Words result(micro.expected.size());
  const auto input = cuda::allocate(*stream, std::max<int64_t>(bytesOf(micro.input), 4));
  const auto output = cuda::allocate(*stream, bytesOf(result));
  const auto mapMemory = cuda::allocate(*stream, sizeof(cuda::TensorMap));
  cuda::write(*stream, cuda::address(*input), micro.input.data(), bytesOf(micro.input), [](const cuda::Result&) {});
  cuda::clear(*stream, cuda::address(*output), bytesOf(result));
  const cuda::CurrentContext current(device);
  CUdeviceptr pointers[] = {cuda::address(*input), cuda::address(*output)};
  CUtensorMap map{};
  if (micro.tensor) map = encode(device, *micro.tensor, pointers[micro.tensor->isOutput]);
  CUdeviceptr mapAddress = cuda::address(*mapMemory);
  void* parameters[] = {&pointers[0], &pointers[1], &map};
  if (micro.mapped) parameters[2] = &mapAddress;
  const auto writeMap = [&](int columns) {
    MappedTensor tensor = *micro.mapped;
    tensor.columns = columns;
    const cuda::TensorMap mapped = encode(device, tensor, pointers[tensor.isOutput]);
    cuda::Tables tables;
    tables.add(&mapped, 1, mapAddress);
    cuda::loadTables(device);
    tables.write(device, stream->compute()->get());
  };
  const CUfunction function = device.function({imageOf(micro.image), "calibrate_" + micro.name, 0});
  const auto launch = [&] {
    device.check(cuda::driver().cuLaunchKernel(function, unsigned(micro.blocks), 1, 1, unsigned(micro.threads), 1, 1, 0,
                                               stream->compute()->get(), parameters, nullptr),
                 micro.name.c_str());
  };
  stream->submitNow([&] {
    if (micro.mapped) {  // first with one of fewer columns there, which the copy engine has to forget
      writeMap(64);
      launch();
      writeMap(micro.mapped->columns);
    }
    launch();
  });
  finish([&](cuda::Settled settled) {
    return cuda::read(*stream, cuda::address(*output), result.data(), bytesOf(result), std::move(settled));
  });
  return result;
}

bool isClose(double got, double want, const Tolerance& tolerance, double scale) {
  if (std::isnan(want)) return std::isnan(got);
  if (std::isinf(want)) return got == want;
  // `want` itself is rounded, by 2^-24 at most.
  return std::abs(got - want) <=
         std::max(scale * tolerance.absolute, (scale * tolerance.relative + 0x1p-24) * std::abs(want));
}

void compareWithDocumentation(const Micro& micro) {
  const std::string wrong = difference(run(micro), micro.expected, micro.tolerance);
  check(wrong.empty(), wrong);
}

/// This device, the simulator say, against what was recorded on a GPU.
void compareWithGoldens(const Goldens& goldens) {
  size_t compared = 0;
  for (const Micro& micro : allMicros()) {
    const auto golden = goldens.kernels.find(micro.name);
    if (golden == goldens.kernels.end()) continue;
    check(golden->second.inputHash == hashOf(micro.input), micro.name + " has other inputs now: record again");
    // Both may be off by what the documentation allows.
    const std::string wrong = difference(run(micro), golden->second.words, micro.tolerance, 2);
    check(wrong.empty(), micro.name + ": " + wrong);
    compared++;
  }
  check(compared > 0, "none of its kernels exists any more");
}

/// The same tests on a simulated device of compute capability 9.0, in a process of its own.
void onHopper() {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::FILE* child = popen(("FOVEA_SIM_COMPUTE_CAPABILITY=9.0 '" + program + "' 'calibration: ' 2>&1").c_str(), "r");
  check(child != nullptr, "no process can be started");
  std::string output;
  for (int letter = std::fgetc(child); letter != EOF; letter = std::fgetc(child)) output += char(letter);
  check(pclose(child) == 0, output);
}

bool isSimulator() { return cuda::driver().path.find("cudasim") != std::string::npos; }

}  // namespace

std::string difference(const Words& got, const Words& want, const Tolerance& tolerance, double scale) {
  const bool isExact = tolerance.relative == 0 && tolerance.absolute == 0;
  if (got.size() != want.size())
    return "it has " + std::to_string(got.size()) + " words, not " + std::to_string(want.size());
  for (size_t i = 0; i < got.size(); i++) {
    if (got[i] == want[i]) continue;
    bool close = !isExact;
    if (close && tolerance.format == Tolerance::Format::single)
      close = isClose(asFloat(got[i]), asFloat(want[i]), tolerance, scale);
    if (close && tolerance.format == Tolerance::Format::halves)
      for (int shift = 0; shift < 32; shift += 16)
        close = close && isClose(decode(float16, got[i] >> shift & 0xffff), decode(float16, want[i] >> shift & 0xffff),
                                 tolerance, scale);
    if (close) continue;
    char text[80];
    std::snprintf(text, sizeof text, "word %zu: got 0x%08x, expected 0x%08x", i, got[i], want[i]);
    return text;
  }
  return {};
}

}  // namespace calibration

void addCalibrationTests(std::vector<Test>& tests) {
  using namespace calibration;
  for (const Micro& micro : allMicros())
    tests.push_back({"calibration: " + micro.name, [micro] { compareWithDocumentation(micro); }});
  const auto recorded = readGoldens();
  for (const auto& [file, goldens] : recorded)
    tests.push_back({"calibration: goldens of " + goldens.gpu, [goldens = goldens] { compareWithGoldens(goldens); }});
  if (recorded.empty())
    std::printf("no goldens: nobody has recorded micro-kernels on a GPU yet (fovea_cuda_test --record does)\n");
  if (isSimulator() && cuda::info().devices[0].computeMajor < 9)
    tests.push_back({"simulated sm_90: calibration", onHopper});
}

int recordGoldens(const std::string& folder, std::optional<std::string> after) {
  using namespace calibration;
  if (isSimulator()) {
    std::printf("goldens are what a GPU does; this is the simulator\n");
    return 1;
  }
  const cuda::DeviceInfo device = cuda::info().devices.at(0);
  const std::string path = goldensPath(folder, device.name);
  Goldens goldens = after ? readGoldensFile(path) : Goldens{};
  goldens.gpu = device.name + ", compute capability " + std::to_string(device.computeMajor) + "." +
                std::to_string(device.computeMinor) + ", driver for CUDA " + std::to_string(cuda::info().version);
  for (const Micro& micro : allMicros()) {
    if (after) {
      if (*after == micro.name) after.reset();
      continue;
    }
    std::printf("begin %s\n", micro.name.c_str());
    std::fflush(stdout);
    try {
      const Words words = run(micro);
      goldens.kernels[micro.name] = {hashOf(micro.input), words};
      const std::string wrong = difference(words, micro.expected, micro.tolerance);
      if (!wrong.empty())
        std::printf("FAILED %s\n  not what the documentation says: %s\n", micro.name.c_str(), wrong.c_str());
    } catch (const std::exception& error) {
      std::printf("FAILED %s\n  %s\n", micro.name.c_str(), error.what());
      if (std::strstr(error.what(), "lost to this process")) return lostDevice;
    }
    writeGoldens(goldens, path);  // now: the next may bring the device down
  }
  std::printf("end\n%zu kernels in %s\n", goldens.kernels.size(), path.c_str());
  return 0;
}

}  // namespace fovea::test
