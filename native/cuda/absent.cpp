// Stands in for the CUDA backend in builds without nvcc: says so, whatever is asked.
#include "backend.h"

namespace fovea::cuda {
namespace {

constexpr const char* reason =
    "this build of fovea has no CUDA kernels: nvcc was not found when it was compiled. Install the CUDA toolkit 13 or "
    "newer and build again (npm_config_build_from_source=true npm install), or use a prebuilt binary.";

[[noreturn]] void fail() { throw Error(ErrorKind::unavailable, reason); }

}  // namespace

class Stream {};
class DeviceBuffer {};
class Execution {};

Info info() { return {reason, "", 0, {}}; }
std::optional<MemoryInfo> memory(int) { fail(); }
std::shared_ptr<Stream> open(int) { fail(); }
uint64_t handle(Stream&) { fail(); }
Plan plan(int, const Problem&) { fail(); }
Result run(Stream&, const Problem&, const Plan&, Residence) { fail(); }
std::shared_ptr<Execution> start(Stream&, const Problem&, const Plan&, Residence, Settled) { fail(); }
void cancel(Execution&) { fail(); }
void enqueue(Stream&, const Problem&, const Plan&, Residence) { fail(); }
std::shared_ptr<Execution> start(Stream&, const Merge&, Settled) { fail(); }
void enqueue(Stream&, const Merge&) { fail(); }
std::shared_ptr<Execution> synchronize(Stream&, Settled) { fail(); }
std::shared_ptr<DeviceBuffer> allocate(Stream&, int64_t) { fail(); }
std::shared_ptr<DeviceBuffer> adopt(Stream&, uint64_t, int64_t) { fail(); }
uint64_t address(const DeviceBuffer&) { fail(); }
std::shared_ptr<Execution> write(Stream&, uint64_t, const void*, int64_t, Settled) { fail(); }
std::shared_ptr<Execution> read(Stream&, uint64_t, void*, int64_t, Settled) { fail(); }
void writeNow(Stream&, uint64_t, const void*, int64_t) { fail(); }
void clear(Stream&, uint64_t, int64_t) { fail(); }
void copyElements(Stream&, const ElementCopy&) { fail(); }
void enqueue(Stream&, const std::vector<RowStore>&) { fail(); }
std::shared_ptr<Execution> start(Stream&, std::vector<RowStore>, Settled) { fail(); }

}  // namespace fovea::cuda
