#include "store_job.h"

#include <algorithm>

#include "memory.h"

namespace fovea::cpu {

namespace {

constexpr int64_t tokensPerTask = 32;

int64_t tasksOf(const RowStore& store) { return (store.tokens + tokensPerTask - 1) / tokensPerTask; }

}  // namespace

StoreJob::StoreJob(std::vector<RowStore> stores, std::function<void(Outcome)> settled)
    : ExecutionJob(std::move(settled)), stores_(std::move(stores)), kernels_(kernels()) {
  int64_t tasks = 0;
  for (const RowStore& store : stores_) {
    tasks += tasksOf(store);
    bytes_ +=
        double(store.tokens) * store.heads * store.dims * double(byteSize(store.fromDtype) + byteSize(store.toDtype));
  }
  setPhases({tasks});
}

void StoreJob::runTask(int64_t task) {
  size_t index = 0;
  for (; task >= tasksOf(stores_[index]); index++) task -= tasksOf(stores_[index]);
  const RowStore& store = stores_[index];
  float* scratch = threadScratch(size_t(kernels_.storeScratch(store)));
  if (!scratch) return end(Outcome::outOfMemory);
  const int64_t begin = task * tokensPerTask;
  kernels_.storeRows(store, begin, std::min(begin + tokensPerTask, store.tokens), scratch);
}

}  // namespace fovea::cpu
