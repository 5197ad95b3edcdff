// Which memory a call takes: parameters of the host or the device, staged tensors, memory of others, writes.
#include <dlfcn.h>

#include <numeric>

#include "../../../native/cuda/backend.h"
#include "device_case.h"

namespace fovea::test {
namespace {

/// With every parameter that may live apart from the tensors.
Case parameterCase() {
  Case about;
  about.dtype = DType::float16;
  about.heads = 2;
  about.headDim = about.valueDim = 32;
  about.queryLengths = {40, 3}, about.keyLengths = {70, 20};
  about.causal = about.alibi = about.sinks = true;
  about.pageSize = 16;
  return about;
}

/// The sequences of one problem with those parameters of another that `where` calls the host's or, if not, the
/// device's.
std::vector<Sequence> mixParameters(const Problem& tensors, const Problem& host, const Problem& device,
                                    cuda::Residence where) {
  std::vector<Sequence> sequences(tensors.sequences, tensors.sequences + tensors.sequenceCount);
  for (size_t i = 0; i < sequences.size(); i++) {
    sequences[i].pageTable = (where.pageTable ? host : device).sequences[i].pageTable;
    sequences[i].alibiSlopes = (where.alibiSlopes ? host : device).sequences[i].alibiSlopes;
    sequences[i].sinks = (where.sinks ? host : device).sequences[i].sinks;
  }
  return sequences;
}

cuda::Residence residence(bool tensors, int parameters) {
  return {tensors, (parameters & 1) != 0, (parameters & 2) != 0, (parameters & 4) != 0};
}

/// Tensors on the device, each parameter on either side; the host's memory is overwritten once enqueue returns.
void enqueuedParameters() {
  const auto stream = cuda::open(0);
  for (int parameters = 0; parameters < 8; parameters++) {
    DeviceCase tensors(*stream, parameterCase());
    const int64_t before = cuda::memory(0)->tensors;
    const cuda::Residence where = residence(false, parameters);
    std::vector<Sequence> sequences = mixParameters(tensors.problem(), tensors.host(), tensors.problem(), where);
    std::vector<std::vector<float>> floats;
    std::vector<std::vector<int32_t>> tables;
    for (Sequence& sequence : sequences) {  // copies that may go
      const int64_t pages = (sequence.keyLength + 15) / 16;
      if (where.pageTable)
        sequence.pageTable = tables.emplace_back(sequence.pageTable, sequence.pageTable + pages).data();
      if (where.alibiSlopes)
        sequence.alibiSlopes = floats.emplace_back(sequence.alibiSlopes, sequence.alibiSlopes + 2).data();
      if (where.sinks) sequence.sinks = floats.emplace_back(sequence.sinks, sequence.sinks + 2).data();
    }
    Problem problem = tensors.problem();
    problem.sequences = sequences.data();
    cuda::enqueue(*stream, problem, tensors.plan(), where);
    for (auto& values : floats) std::fill(values.begin(), values.end(), NAN);
    for (auto& table : tables) std::fill(table.begin(), table.end(), 1 << 20);
    sequences.assign(sequences.size(), Sequence{});
    check(cuda::memory(0)->tensors == before, "an enqueued call keeps memory");
    tensors.compare();
  }
}

/// Tensors on the host, each parameter on either side.
void stagedTensors() {
  const auto stream = cuda::open(0);
  const DeviceCase onDevice(*stream, parameterCase());
  for (int parameters = 0; parameters < 8; parameters++) {
    Tensors tensors(parameterCase());
    const cuda::Residence where = residence(true, parameters);
    const std::vector<Sequence> sequences =
        mixParameters(tensors.problem(), tensors.problem(), onDevice.problem(), where);
    Problem problem = tensors.problem();
    problem.sequences = sequences.data();
    const cuda::Result result = cuda::run(*stream, problem, cuda::plan(0, problem), where);
    check(result.outcome == cuda::Outcome::done, result.message);
    const std::string wrong = compare(tensors.problem());
    check(wrong.empty(), "parameters " + std::to_string(parameters) + ": " + wrong);
  }
}

void hostTensorsAreNotEnqueued() {
  const auto stream = cuda::open(0);
  Tensors tensors{Case{}};
  try {
    cuda::enqueue(*stream, tensors.problem(), cuda::plan(0, tensors.problem()), cuda::allOnHost);
  } catch (const std::invalid_argument&) {
    return;
  }
  throw Failure("host tensors were enqueued");
}

/// Staged tensors lie on the device as they do on the host, so the plan for the one is the plan for the other.
void alignment() {
  const auto stream = cuda::open(0);
  for (const int shift : {0, 1, 2, 3, 5, 8})
    for (const int pageSize : {0, 16}) {
      Case about;
      about.dtype = about.biasDtype = DType::float16;
      about.mask = true;
      about.bias = Case::Bias::full;
      about.shift = shift;
      about.pageSize = pageSize;
      about.queryLengths = {20, 7}, about.keyLengths = {33, 40};
      const DeviceCase tensors(*stream, about);
      const auto place = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16; };
      for (int64_t i = 0; i < tensors.problem().sequenceCount; i++) {
        const Sequence &device = tensors.problem().sequences[i], &host = tensors.host().sequences[i];
        check(place(device.query.data) == place(host.query.data) && place(device.key.data) == place(host.key.data) &&
                  place(device.value.data) == place(host.value.data) &&
                  place(device.mask.data) == place(host.mask.data) && place(device.bias.data) == place(host.bias.data),
              "an input lies elsewhere, shift " + std::to_string(shift));
        check(place(host.query.data) == size_t(2 * shift) % 16, "the test's tensors lie elsewhere");
        check(tensors.plan().sequences[size_t(i)].plainLoads ==
                  cuda::plan(0, tensors.host()).sequences[size_t(i)].plainLoads,
              "another plan");
      }
    }
}

/// What was written is what `from` held at the call, whatever happens to it after; in order with other work.
void immediateWrites() {
  const auto stream = cuda::open(0);
  constexpr int64_t bytes = (int64_t{9} << 20) + 12;
  const auto a = cuda::allocate(*stream, bytes), b = cuda::allocate(*stream, bytes), c = cuda::allocate(*stream, bytes);
  std::vector<uint8_t> source(bytes), result(bytes);
  const auto fill = [&](int salt) {
    for (size_t i = 0; i < source.size(); i++) source[i] = uint8_t(i * 31 >> 3) + uint8_t(salt);
  };
  const auto expectBytes = [&](const cuda::DeviceBuffer& buffer, int salt) {
    finish([&](cuda::Settled settled) {
      cuda::read(*stream, cuda::address(buffer), result.data(), bytes, std::move(settled));
    });
    fill(salt);
    check(result == source, "not what write " + std::to_string(salt) + " was given");
  };
  for (const int salt : {1, 2, 3}) {
    fill(salt);
    cuda::writeNow(*stream, cuda::address(*a), source.data(), bytes);
    std::fill(source.begin(), source.end(), uint8_t(0xee));
    if (salt < 3) copyOnDevice(*stream, *a, salt == 1 ? *b : *c, bytes);
  }
  expectBytes(*b, 1);
  expectBytes(*c, 2);
  expectBytes(*a, 3);
  cuda::writeNow(*stream, cuda::address(*a), nullptr, 0);
}

/// Thousands of small writes, of odd sizes, between large ones.
void manyWrites() {
  const auto stream = cuda::open(0);
  constexpr size_t words = 700001;
  const auto buffer = cuda::allocate(*stream, words * 4);
  std::vector<uint32_t> expected(words, 0), piece(words);
  Random random(3);
  const auto write = [&](size_t begin, size_t count) {
    for (size_t i = 0; i < count; i++) expected[begin + i] = piece[i] = uint32_t(random.bits());
    cuda::writeNow(*stream, cuda::address(*buffer) + begin * 4, piece.data(), int64_t(count) * 4);
    std::fill(piece.begin(), piece.begin() + int64_t(count), 0u);
  };
  for (int round = 0; round < 5; round++) {
    write(0, words);
    for (int i = 0; i < 1000; i++) {
      const size_t count = 1 + random.bits() % 50;
      write(random.bits() % (words - count), count);
    }
  }
  std::vector<uint32_t> result(words);
  finish([&](cuda::Settled settled) {
    cuda::read(*stream, cuda::address(*buffer), result.data(), words * 4, std::move(settled));
  });
  check(result == expected, "not what was written");
}

void adoptedMemory() {
  const auto stream = cuda::open(0);
  constexpr int64_t bytes = 4096;
  const auto owner = cuda::allocate(*stream, bytes);
  const int64_t before = cuda::memory(0)->tensors;
  std::vector<uint8_t> source(bytes), result(bytes);
  std::iota(source.begin(), source.end(), uint8_t(0));
  {
    const auto guest = cuda::adopt(*stream, cuda::address(*owner) + 512, bytes - 512);
    check(cuda::address(*guest) == cuda::address(*owner) + 512, "another address");
    check(cuda::memory(0)->tensors == before, "memory of others is counted");
    cuda::writeNow(*stream, cuda::address(*guest), source.data(), bytes - 512);
    const auto none = cuda::adopt(*stream, 0, 0);
    check(cuda::address(*none) == 0, "no memory has an address");
  }
  finish([&](cuda::Settled settled) {
    cuda::read(*stream, cuda::address(*owner) + 512, result.data(), bytes - 512, std::move(settled));
  });
  check(std::equal(source.begin(), source.end() - 512, result.begin()), "not what was written");
  check(cuda::memory(0)->tensors == before, "memory of others was given back");
}

void expectNotAdopted(cuda::Stream& stream, uint64_t pointer, int64_t bytes, const std::string& part) {
  try {
    cuda::adopt(stream, pointer, bytes);
  } catch (const cuda::Error& error) {
    return check(std::string(error.what()).find(part) != std::string::npos, error.what());
  }
  throw Failure("adopted what is " + part);
}

void foreignMemory() {
  const auto stream = cuda::open(0);
  const auto owner = cuda::allocate(*stream, 4096);
  std::vector<uint8_t> ordinary(100);
  const cuda::PinnedBuffer pinned(stream->device(), 4096);
  expectNotAdopted(*stream, reinterpret_cast<uintptr_t>(ordinary.data()), 100, "the driver does not know");
  expectNotAdopted(*stream, reinterpret_cast<uintptr_t>(pinned.data()), 100, "got host memory");
  expectNotAdopted(*stream, 0, 100, "the driver does not know");
  expectNotAdopted(*stream, cuda::address(*owner), int64_t{1} << 45, "at their end");
}

/// What is freed stays with the pool, up to one or two eighths of the memory, whatever else is in use.
void freedMemoryIsKept() {
  const auto stream = cuda::open(0);
  const cuda::Device& device = stream->device();
  if (!device.pool()) return;
  void* library = dlopen(cuda::driver().path.c_str(), RTLD_NOW | RTLD_NOLOAD);
  const auto attribute = reinterpret_cast<decltype(&cuMemPoolGetAttribute)>(dlsym(library, "cuMemPoolGetAttribute"));
  const int64_t eighth = device.info().memoryBytes / 8;
  const auto expectKept = [&](const std::string& when) {
    cuuint64_t kept = 0;
    attribute(device.pool(), CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &kept);
    const int64_t more = int64_t(kept) - cuda::memory(0)->tensors;
    check(more >= eighth && more <= 2 * eighth, when + ": " + std::to_string(more) + " bytes are kept");
  };
  expectKept("at first");
  for (const int64_t bytes : {eighth + 1000, 3 * eighth}) {
    const auto large = cuda::allocate(*stream, bytes);
    expectKept("with " + std::to_string(bytes) + " bytes in use");
  }
  expectKept("at the end");
}

}  // namespace

void addMemoryTests(std::vector<Test>& tests) {
  tests.push_back({"memory: parameters of enqueued calls", enqueuedParameters});
  tests.push_back({"memory: parameters of staged calls", stagedTensors});
  tests.push_back({"memory: host tensors are not enqueued", hostTensorsAreNotEnqueued});
  tests.push_back({"memory: alignment of staged tensors", alignment});
  tests.push_back({"memory: immediate writes", immediateWrites});
  tests.push_back({"memory: many writes", manyWrites});
  tests.push_back({"memory: adopted", adoptedMemory});
  tests.push_back({"memory: of others", foreignMemory});
  tests.push_back({"memory: what is freed is kept", freedMemoryIsKept});
}

}  // namespace fovea::test
