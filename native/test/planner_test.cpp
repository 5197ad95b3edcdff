// Plans beside the same numbers counted row by row.
#include "attention/planner.h"

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "check.h"

using namespace fovea;

namespace {

/// Pairs that tiles of rows and keys compute for one kv head, from the keys that each row sees. A vector of rows takes
/// part until all of its rows and of those before it have seen all they see, unless scores are modified.
double executedPairs(const Problem& problem, const Sequence& sequence, const SequencePlan& plan, int lanes) {
  const bool decode = plan.kernel == Kernel::cpuDecode;
  const bool whole = decode || sequence.mask || sequence.bias || problem.softcap > 0;
  double pairs = 0;
  for (int64_t first = 0, rows = 0; first < plan.rows; first += rows) {
    const int64_t left = std::min(plan.rows, first / plan.queryBlock * plan.queryBlock + plan.queryBlock) - first;
    rows = decode ? left : rowsOfPanel(left, lanes);
    int64_t begin = sequence.keyLength, end = 0;
    std::vector<int64_t> ends;  // of each vector
    for (int64_t row = first; row < first + rows; row++) {
      const KeyRange keys = visibleKeys(problem, sequence, row / problem.groupSize());
      if (keys.end > keys.begin) {
        begin = std::min(begin, std::max(keys.begin, plan.keyBegin) / 4 * 4);
        end = std::max(end, keys.end);
      }
      if (row == first + rows - 1 || (!decode && (row - first + 1) % lanes == 0)) ends.push_back(end);
    }
    for (const int64_t own : ends) {
      const int64_t last = whole ? end : own;
      if (last > begin) pairs += double(decode ? rows : lanes) * double((last - begin + 3) / 4 * 4);
    }
  }
  return pairs;
}

/// The keys that any of the rows sees.
KeyRange hull(const Problem& problem, const Sequence& sequence, int64_t first, int64_t last) {
  KeyRange all{0, 0};
  for (int64_t row = first; row <= last; row++) {
    const KeyRange keys = visibleKeys(problem, sequence, row);
    if (keys.end <= keys.begin) continue;
    if (all.end == 0) all.begin = keys.begin;
    all = {std::min(all.begin, keys.begin), std::max(all.end, keys.end)};
  }
  return all;
}

}  // namespace

TEST("what a plan executes is what its rows see") {
  std::mt19937 random(20261126);
  const auto upTo = [&](int64_t most) { return int64_t(random() % uint64_t(most + 1)); };
  for (int i = 0; i < 5000; i++) {
    Problem problem;
    problem.kvHeads = int32_t(1 + upTo(2)), problem.heads = problem.kvHeads * int32_t(1 + upTo(6));
    problem.headDim = problem.valueDim = 16;
    problem.causal = upTo(1) == 0;
    problem.windowLeft = upTo(2) == 0 ? upTo(90) : -1, problem.windowRight = upTo(2) == 0 ? upTo(90) : -1;
    problem.softcap = upTo(3) == 0 ? 5 : 0;
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = upTo(3) == 0 ? upTo(6) : upTo(300);
    sequence.keyLength = sequence.keyColumns = upTo(300);
    sequence.queryOffset = upTo(1) == 0 ? sequence.keyLength - sequence.queryLength : upTo(800) - 400;
    const Segment segment{int32_t(upTo(sequence.keyLength)), 0};
    const Segments segments{&segment, segment.end > 0 && upTo(2) == 0};
    problem.sequences = &sequence, problem.sequenceCount = 1, problem.segments = &segments;

    const int lanes = upTo(1) == 0 ? 8 : 4;
    const Plan whole = planCpu(problem, {lanes, 2});
    const SequencePlan& plan = whole.sequences[0];
    const double expected = 2.0 * 32 * problem.kvHeads * executedPairs(problem, sequence, plan, lanes);
    CHECK(plan.flops == expected) << "problem " << i << ": " << plan.flops << " instead of " << expected;
    const KeyRange seen = hull(problem, sequence, 0, sequence.queryLength - 1);
    const double bytes =
        4.0 * 32 * (double(seen.end - seen.begin) * problem.kvHeads + double(sequence.queryLength) * problem.heads);
    CHECK(whole.bytes == bytes) << "problem " << i << ": " << whole.bytes << " bytes instead of " << bytes;
    if (sequence.queryLength == 0) continue;
    const int64_t first = upTo(sequence.queryLength - 1), last = first + upTo(sequence.queryLength - 1 - first);
    const KeyRange got = visibleKeysOfRows(problem, sequence, first, last), all = hull(problem, sequence, first, last);
    CHECK(got.begin == all.begin && got.end == all.end) << "problem " << i << ", rows " << first << " to " << last;
  }
}

TEST("several short heads make a task, and never so many that a task is long") {
  std::vector<Sequence> sequences(1001);
  for (Sequence& sequence : sequences)
    sequence.queryLength = sequence.queryRows = sequence.keyLength = sequence.keyColumns = 32;
  sequences.back().queryLength = sequences.back().queryRows = 200;
  sequences.back().keyLength = sequences.back().keyColumns = 8192;
  Problem problem;
  problem.heads = problem.kvHeads = 12;
  problem.headDim = problem.valueDim = 64;
  problem.sequences = sequences.data(), problem.sequenceCount = int64_t(sequences.size());
  for (const int threads : {1, 8, 64}) {
    const Plan plan = planCpu(problem, {8, threads});
    CHECK(plan.sequences[0].headBlock > 1);
    for (const SequencePlan& part : plan.sequences) {
      const double head = part.flops / problem.kvHeads;
      CHECK(part.headBlock == 1 || head * double(part.headBlock) < plan.flops / threads / 8)
          << part.headBlock << " heads of " << part.rows << " rows, " << threads << " threads";
    }
  }
}

TEST("a task of decode takes heads in turn where their rows follow one another, and leaves tasks for all threads") {
  std::vector<int32_t> table(4096);
  const auto headsOf = [&](int64_t batch, int threads, const std::function<void(Problem&, Sequence&)>& change) {
    Problem problem;
    problem.heads = problem.kvHeads = 8;
    problem.headDim = problem.valueDim = 64;
    problem.pageSize = 16;
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = 1, sequence.keyLength = sequence.keyColumns = 4096;
    sequence.pageTable = table.data();
    sequence.key = sequence.value = {nullptr, 16 * 64, 64, 1};
    change(problem, sequence);
    const std::vector<Sequence> sequences(size_t(batch), sequence);
    problem.sequences = sequences.data(), problem.sequenceCount = batch;
    const Plan plan = planCpu(problem, {8, threads});
    CHECK(plan.sequences[0].kernel == Kernel::cpuDecode);
    return plan.sequences[0].headBlock;
  };
  const auto sideBySide = [](Problem& problem, Sequence& sequence) {
    problem.pageSize = 0;
    sequence.key = sequence.value = {nullptr, 64, 8 * 64, 1};
  };
  const auto nothing = [](Problem&, Sequence&) {};
  // Four splits of the keys and eight heads of each sequence, four tasks for each thread.
  CHECK(headsOf(1, 1, nothing) == 8);
  CHECK(headsOf(1, 2, nothing) == 4);
  CHECK(headsOf(1, 64, nothing) == 1);
  CHECK(headsOf(8, 16, nothing) == 4);
  CHECK(headsOf(1, 1, sideBySide) == 8);
  CHECK(headsOf(1, 64, sideBySide) == 8);
  CHECK(headsOf(1, 1, [](Problem& problem, Sequence&) { problem.pageSize = 24; }) == 1);  // would end within a page
  CHECK(headsOf(1, 1, [](Problem&, Sequence& sequence) { sequence.value.headStride = 2 * 16 * 64; }) == 1);
  CHECK(headsOf(1, 1, [](Problem&, Sequence& sequence) { sequence.key.columnStride = 2; }) == 1);
  CHECK(headsOf(1, 1, [](Problem& problem, Sequence&) { problem.headDim = 60; }) == 1);
}

TEST("splits are of the keys that some row sees") {
  std::mt19937 random(20261127);
  const auto upTo = [&](int64_t most) { return int64_t(random() % uint64_t(most + 1)); };
  for (int i = 0; i < 2000; i++) {
    Problem problem;
    problem.heads = problem.kvHeads = 1, problem.headDim = problem.valueDim = 16;
    problem.causal = upTo(1) == 0;
    problem.windowLeft = upTo(1) == 0 ? upTo(9000) : -1, problem.windowRight = upTo(1) == 0 ? upTo(9000) : -1;
    Sequence sequence;
    sequence.queryLength = sequence.queryRows = 1 + upTo(180);
    sequence.keyLength = sequence.keyColumns = upTo(20000);
    sequence.queryOffset = upTo(60000) - 30000;
    problem.sequences = &sequence, problem.sequenceCount = 1;

    const SequencePlan plan = planCpu(problem, {8, 2}).sequences[0];
    const KeyRange seen = hull(problem, sequence, 0, sequence.queryLength - 1);
    if (plan.splits == 1) continue;
    const int64_t begin = plan.firstSplit * plan.keySplit, end = begin + plan.splits * plan.keySplit;
    CHECK(begin <= seen.begin && seen.begin < begin + plan.keySplit && end - plan.keySplit < seen.end &&
          seen.end <= end)
        << "problem " << i << ": splits of " << begin << " to " << end << ", keys " << seen.begin << " to " << seen.end;
  }
}
