#include "backend.h"

#include <algorithm>

#include "../attention/planner.h"
#include "attention_job.h"
#include "memory.h"
#include "merge_job.h"
#include "processor.h"
#include "store_job.h"

namespace fovea::cpu {

namespace {

// Operations, and bytes that are read and written, below which a second thread costs more (waking it takes some 20 to
// 50 microseconds) than it brings.
constexpr double inlineFlops = 4e6, inlineBytes = 4e6;
// Below these (some 5 microseconds) handing a call over to another thread and back costs more of the caller's time than
// computing it.
constexpr double handOverFlops = 2.5e5, handOverBytes = 2.5e5;
// What a score costs at least, in operations of the products: softmax, softcap, ALiBi.
constexpr double scoreFlops = 64;

double bytesOf(const Merge& merge) {
  return double(merge.rowCount()) * double(merge.partCount + 1) * double(merge.dims * byteSize(merge.dtype) + 4);
}

Outcome runJob(const std::shared_ptr<ExecutionJob>& job, bool isInline) {
  if (isInline)
    job->runInline();
  else
    ThreadPool::instance().runWith(job);
  return job->outcome();
}

std::shared_ptr<Execution> startJob(const std::shared_ptr<ExecutionJob>& job, bool isInline, bool ahead = false) {
  if (isInline)
    job->runInline();
  else
    ThreadPool::instance().submit(job, ahead);
  return job;
}

}  // namespace

Info info() { return {processorCount(), ThreadPool::instance().threads(), kernels().name, instructionSets()}; }

void preferHugePages(std::span<std::byte> memory) { preferHugePages(memory.data(), memory.size()); }

void setThreads(int count) { ThreadPool::instance().setThreads(count); }

Plan plan(const Problem& problem) {
  return planCpu(problem, {kernels().lanes, ThreadPool::instance().threads(), kernels().multipliesPairs});
}

Outcome run(const Problem& problem, const Plan& plan) {
  return runJob(std::make_shared<AttentionJob>(problem, plan, nullptr), plan.flops < inlineFlops);
}

std::shared_ptr<Execution> start(const Problem& problem, Plan plan, std::function<void(Outcome)> settled, bool ahead) {
  const double perScore = 2.0 * (problem.headDim + problem.valueDim);
  const double flops = plan.flops * std::max(1.0, scoreFlops / perScore);
  const bool isInline = flops < handOverFlops && plan.bytes < handOverBytes;
  return startJob(std::make_shared<AttentionJob>(problem, std::move(plan), std::move(settled)), isInline, ahead);
}

Outcome run(const Merge& merge) {
  return runJob(std::make_shared<MergeJob>(merge, nullptr), bytesOf(merge) < inlineBytes);
}

std::shared_ptr<Execution> start(const Merge& merge, std::function<void(Outcome)> settled) {
  return startJob(std::make_shared<MergeJob>(merge, std::move(settled)), bytesOf(merge) < handOverBytes);
}

Outcome run(const std::vector<RowStore>& stores) {
  const auto job = std::make_shared<StoreJob>(stores, nullptr);
  return runJob(job, job->bytes() < inlineBytes);
}

std::shared_ptr<Execution> start(const std::vector<RowStore>& stores, std::function<void(Outcome)> settled) {
  const auto job = std::make_shared<StoreJob>(stores, std::move(settled));
  return startJob(job, job->bytes() < handOverBytes);
}

}  // namespace fovea::cpu
