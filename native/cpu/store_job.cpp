#include "store_job.h"

#include <algorithm>

#include "memory.h"

namespace fovea::cpu {

namespace {

constexpr int64_t tokensPerTask = 32;

int64_t tasksOf(const RowStore& store) { return (store.tokens + tokensPerTask - 1) / tokensPerTask; }

}  // namespace

StoreJob::StoreJob(std::vector<RowStore> stores, std::function<void(Outcome)> settled)
    : stores_(std::move(stores)), kernels_(kernels()), settled_(std::move(settled)) {
  for (const RowStore& store : stores_) {
    tasks_ += tasksOf(store);
    bytes_ +=
        double(store.tokens) * store.heads * store.dims * double(byteSize(store.fromDtype) + byteSize(store.toDtype));
  }
  setPhases({tasks_});
}

void StoreJob::cancel() {
  Outcome expected = Outcome::done;
  outcome_.compare_exchange_strong(expected, Outcome::aborted);
  ThreadPool::instance().cancel(*this);
}

void StoreJob::runInline() {
  for (int64_t task = 0; task < tasks_ && !isCancelled(); task++) runTask(task);
  settled();
}

void StoreJob::runTask(int64_t task) {
  size_t index = 0;
  for (; task >= tasksOf(stores_[index]); index++) task -= tasksOf(stores_[index]);
  const RowStore& store = stores_[index];
  float* scratch = threadScratch(size_t(kernels_.storeScratch(store)));
  if (!scratch) {
    outcome_ = Outcome::outOfMemory;
    ThreadPool::instance().cancel(*this);
    return;
  }
  const int64_t begin = task * tokensPerTask;
  kernels_.storeRows(store, begin, std::min(begin + tokensPerTask, store.tokens), scratch);
}

void StoreJob::settled() {
  if (settled_) settled_(outcome_);
}

}  // namespace fovea::cpu
