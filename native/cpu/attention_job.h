// A Problem and its Plan as a job of the thread pool.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "dispatch.h"
#include "execution_job.h"
#include "memory.h"

namespace fovea::cpu {

class AttentionJob : public ExecutionJob {
 public:
  AttentionJob(const Problem& problem, Plan plan, std::function<void(Outcome)> settled);

 private:
  /// Tasks of one sequence: consecutive numbers from `firstTask`.
  struct Part {
    const Sequence* sequence;
    const SequencePlan* plan;
    int64_t firstTask, blocks;
    int64_t firstGroup;  // of its kv heads, where there are partials
    int64_t keyEnd;
    bool merged;               // with other parts of the same sequences, in a phase of its own
    const QueryOwner* owners;  // of a segment's queries
  };

  /// The parts of a sequence whose keys are cut, in the order of its keys.
  struct Merger {
    const Sequence* sequence;
    const SequencePlan* plan;
    struct Piece {
      size_t part;
      int64_t firstRow;
    };
    std::vector<Piece> pieces;
  };

  void planTiled();
  void addPart(Part part);
  void planSegments();
  void planStandard();
  void runTask(int64_t task) override;
  void settled() override;
  void runTiled(int64_t number, const Part& part);
  void runMerge(int64_t number);
  void runStandard(int64_t number, const Part& part, int stage);
  Partial partialOf(const Part& part, int64_t kvHead, int64_t split, int64_t row) const;
  bool prepareWorkspace();

  const Problem problem_;
  const Plan plan_;
  const KernelTable& kernels_;

  std::vector<int64_t> phaseEnds_;
  std::vector<Part> parts_;              // in the order they are served
  std::vector<const Sequence*> padded_;  // sequences whose outputs have rows past queryLength
  std::vector<Merger> mergers_;
  std::vector<size_t> mergerOf_;  // of each sequence whose keys are cut
  std::vector<QueryOwner> owners_;
  int64_t taskCount_ = 0;  // without those that fill padding and those that merge
  // Per group, that is (part, kv head) with partials: floats of the workspace before them, and splits still to come.
  std::vector<int64_t> partialsAt_;
  std::vector<std::atomic<int64_t>> pending_;
  int64_t workspaceFloats_ = 0;  // taken in the phase that is being planned

  std::once_flag workspaceOnce_;
  Workspace workspace_;
};

}  // namespace fovea::cpu
