// The CPU backend: runs a Problem by a Plan on the process's thread pool. No Node here.
#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../attention/merge.h"
#include "../attention/plan.h"
#include "../attention/row_store.h"

namespace fovea::cpu {

struct Info {
  int cores = 1;    // logical processors this process may run on
  int threads = 1;  // of the pool
  std::string instructionSet;
  std::vector<std::string> instructionSets;  // in this build and runnable here
};

/// Throws std::runtime_error when FOVEA_CPU_ISA or FOVEA_NUM_THREADS cannot be honoured; so do plan, run and start.
Info info();

/// Resizes the process's pool (count >= 1).
void setThreads(int count);

/// Asks for huge pages where `memory` has no pages yet: few of 2 MiB take one fault, and one entry of the processor's
/// table of addresses, where 4 KiB take 512.
void preferHugePages(std::span<std::byte> memory);

/// The plan for this machine's instruction set.
Plan plan(const Problem& problem);

enum class Outcome : uint8_t { done, aborted, outOfMemory };

/// Computes on the calling thread, helped by the pool when the problem is worth it.
Outcome run(const Problem& problem, const Plan& plan);

/// A call in flight.
class Execution {
 public:
  virtual ~Execution() = default;
  /// Drops the call if it is queued, stops it at the next block if it runs. Returns at once; `settled` still comes.
  virtual void cancel() = 0;
};

/// Enqueues on the pool. `settled` is called exactly once, when nothing touches the problem's memory any more: on a
/// pool thread, or before `start` returns if the problem takes less time than handing it over. The sequences that
/// `problem` points to, and all tensors, must live until then. `ahead`: its tasks start before those of calls that are
/// in flight already.
std::shared_ptr<Execution> start(const Problem& problem, Plan plan, std::function<void(Outcome)> settled,
                                 bool ahead = false);

/// The same of a merge, whose parts must live until then.
Outcome run(const Merge& merge);
std::shared_ptr<Execution> start(const Merge& merge, std::function<void(Outcome)> settled);

/// The same of rows to move: all that `stores` name.
Outcome run(const std::vector<RowStore>& stores);
std::shared_ptr<Execution> start(const std::vector<RowStore>& stores, std::function<void(Outcome)> settled);

}  // namespace fovea::cpu
