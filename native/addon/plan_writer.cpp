#include "plan_writer.h"

#include <algorithm>
#include <array>

#include "errors.h"
#include "fields.h"

namespace fovea::addon {
namespace {

struct Part {
  int64_t sequences = 0, queryBlock = 0, keyBlock = 0, stages = 0, splits = 0, plainLoads = 0, sectionHeads = 0;
  Sm90Refusal refusal = Sm90Refusal::none;
  double flops = 0;
};

/// Segments are no sequences, but work all the same.
bool isUsed(const Part& part) { return part.sequences > 0 || part.flops > 0; }

std::array<Part, kernelCount> partsByKernel(const Plan& plan) {
  std::array<Part, kernelCount> parts;
  const auto add = [&](const SequencePlan& sequence, int64_t sequences) {
    Part& part = parts[static_cast<size_t>(sequence.kernel)];
    part.sequences += sequences;
    part.queryBlock = std::max(part.queryBlock, sequence.queryBlock);
    part.keyBlock = std::max(part.keyBlock, sequence.keyBlock);
    part.stages = std::max(part.stages, sequence.stages);
    part.splits = std::max(part.splits, sequence.splits);
    part.plainLoads += sequence.plainLoads;
    part.refusal = std::max(part.refusal, sequence.refusal);
    part.sectionHeads = std::max(part.sectionHeads, sequence.sectionHeads);
    part.flops += sequence.flops;
  };
  for (const SequencePlan& sequence : plan.sequences) add(sequence, 1);
  for (const SegmentPlan& segment : plan.segments) add(segment.plan, 0);
  return parts;
}

/// How a kernel's thread blocks come by their tasks, by the numbers of lib/plan.ts.
enum class Order : uint8_t { none, dealt, longestFirst };

Order orderOf(const Plan& plan, Kernel kernel) {
  if (kernel == Kernel::cudaTiledSm90) return plan.tasksDiffer ? Order::longestFirst : Order::dealt;
  return kernel == Kernel::cudaTiled ? Order::longestFirst : Order::none;
}

}  // namespace

void writePlan(const Plan& plan, std::span<double> fields) {
  const auto parts = partsByKernel(plan);
  const auto used = std::count_if(parts.begin(), parts.end(), isUsed);
  if (fields.size() < plan_field::count + used * plan_part_field::count) throw BoundsError("plan: too short");

  fields[plan_field::algorithm] = static_cast<double>(plan.algorithm);
  fields[plan_field::tasks] = static_cast<double>(plan.tasks);
  fields[plan_field::workspaceBytes] = static_cast<double>(plan.workspaceBytes);
  fields[plan_field::flops] = plan.flops;
  fields[plan_field::usefulFlops] = plan.usefulFlops;
  fields[plan_field::bytes] = plan.bytes;
  int64_t shared = 0, sharedKeys = 0;
  for (const SegmentPlan& segment : plan.segments) {
    if (segment.sequences.size() == 1) continue;
    shared += 1;
    sharedKeys += segment.keyEnd - segment.plan.keyBegin;
  }
  fields[plan_field::sharedSegments] = static_cast<double>(shared);
  fields[plan_field::sharedKeys] = static_cast<double>(sharedKeys);
  fields[plan_field::parts] = static_cast<double>(used);

  double* out = fields.data() + plan_field::count;
  for (int kernel = 0; kernel < kernelCount; ++kernel) {
    const Part& part = parts[kernel];
    if (!isUsed(part)) continue;
    out[plan_part_field::kernel] = kernel;
    out[plan_part_field::sequences] = static_cast<double>(part.sequences);
    out[plan_part_field::queryBlock] = static_cast<double>(part.queryBlock);
    out[plan_part_field::keyBlock] = static_cast<double>(part.keyBlock);
    out[plan_part_field::stages] = static_cast<double>(part.stages);
    out[plan_part_field::splits] = static_cast<double>(part.splits);
    out[plan_part_field::plainLoads] = static_cast<double>(part.plainLoads);
    out[plan_part_field::refusal] = static_cast<double>(part.refusal);
    out[plan_part_field::flops] = part.flops;
    out[plan_part_field::order] = static_cast<double>(orderOf(plan, static_cast<Kernel>(kernel)));
    out[plan_part_field::sectionHeads] = static_cast<double>(part.sectionHeads);
    out += plan_part_field::count;
  }
}

}  // namespace fovea::addon
