// The pool itself: how many tasks run at a time, and how many threads there are.
#include "cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "check.h"
#include "cpu/backend.h"

using namespace fovea;
using namespace fovea::cpu;

namespace {

void pause(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

/// What the tasks of several jobs see of each other.
struct Watch {
  int limit;                     // threads of the pool
  std::thread::id outside = {};  // a thread that works on a job of its own
  std::atomic<int> running{0}, most{0}, tooMany{0}, settled{0};
};

/// Tasks that take half a millisecond of waiting.
class WaitingJob : public Job {
 public:
  WaitingJob(Watch& watch, int64_t tasks) : Job({tasks}), watch_(watch) {}

 private:
  void runTask(int64_t) override {
    const int now = ++watch_.running;
    for (int most = watch_.most; most < now && !watch_.most.compare_exchange_weak(most, now);) continue;
    if (now > watch_.limit && std::this_thread::get_id() != watch_.outside) watch_.tooMany++;
    pause(500);
    watch_.running--;
  }
  void settled() override { watch_.settled++; }

  Watch& watch_;
};

/// What tasks that wait for each other know.
struct Meeting {
  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::thread::id> here;  // threads with a task
  std::set<std::thread::id> held;  // those that stay although the others may go
  bool open = false;
  int gone = 0;

  /// Whether it becomes true within a time that no scheduler takes.
  template <class Condition>
  bool waitFor(Condition condition) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, std::chrono::seconds(10), condition);
  }
  void change(const std::function<void()>& how) {
    const std::lock_guard lock(mutex);
    how();
    changed.notify_all();
  }
};

/// Each task does the same.
class OwnJob : public Job {
 public:
  OwnJob(int64_t tasks, std::function<void(int64_t)> task) : Job({tasks}), task_(std::move(task)) {}

 private:
  void runTask(int64_t task) override { task_(task); }
  void settled() override {}

  std::function<void(int64_t)> task_;
};

/// Gathers so many of the pool's threads, each with a task that ends when the meeting is open.
void gather(Meeting& meeting, int threads) {
  ThreadPool::instance().submit(std::make_shared<OwnJob>(threads, [&](int64_t) {
    const auto self = std::this_thread::get_id();
    meeting.change([&] { meeting.here.insert(self); });
    std::unique_lock lock(meeting.mutex);
    meeting.changed.wait(lock, [&] { return meeting.open && !meeting.held.contains(self); });
    meeting.gone++;
    meeting.changed.notify_all();
  }));
  CHECK(meeting.waitFor([&] { return int(meeting.here.size()) == threads; })) << meeting.here.size() << " threads";
}

void submit(Watch& watch, int jobs, int64_t tasks) {
  for (int i = 0; i < jobs; i++) ThreadPool::instance().submit(std::make_shared<WaitingJob>(watch, tasks));
}

void waitFor(Watch& watch, int jobs) {
  while (watch.settled < jobs) pause(1000);
}

void resetThreads() { cpu::setThreads(cpu::info().cores); }

int64_t threadCount() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

/// Threads that leave take a moment.
bool becomes(int64_t count) {
  for (int i = 0; i < 5000 && threadCount() != count; i++) pause(1000);
  return threadCount() == count;
}

}  // namespace

TEST("jobs in flight together run as many tasks at a time as there are threads, no more") {
  for (const int threads : {5, 1, 2}) {
    ThreadPool::instance().setThreads(threads);
    Watch watch{threads};
    submit(watch, 6, 20);
    waitFor(watch, 6);
    CHECK(watch.tooMany == 0) << watch.most << " tasks at a time on " << threads << " threads";
    CHECK(threads == 1 || watch.most > 1) << "one task at a time on " << threads << " threads";
  }
  resetThreads();
}

TEST("a job that goes ahead is done before the jobs that are there") {
  ThreadPool::instance().setThreads(2);
  Watch before{2}, ahead{2};
  submit(before, 2, 100);
  pause(2000);
  ThreadPool::instance().submit(std::make_shared<WaitingJob>(ahead, 10), true);
  waitFor(ahead, 1);
  CHECK(before.settled == 0) << before.settled << " jobs were done first";
  waitFor(before, 2);
  resetThreads();
}

TEST("a thread that works on its own job takes the place of one of the pool") {
  ThreadPool::instance().setThreads(2);
  Watch watch{2, std::this_thread::get_id()};
  submit(watch, 4, 100);
  pause(2000);
  const auto own = std::make_shared<WaitingJob>(watch, 100);
  ThreadPool::instance().runWith(own);
  CHECK(watch.settled >= 1) << "runWith returned before its job had settled";
  waitFor(watch, 5);
  // It begins at once, beside tasks that run already; from then on pool threads start a task only where there is room.
  CHECK(watch.most <= 3) << watch.most << " tasks at a time on 2 threads";
  CHECK(watch.tooMany <= 2) << watch.tooMany << " tasks started where there was no room";
  resetThreads();
}

TEST("threads come with work and leave when there are to be fewer") {
  if (!std::filesystem::exists("/proc/self/task")) return;
  const auto work = [](int threads) {
    ThreadPool::instance().setThreads(threads);
    Watch watch{threads};
    submit(watch, 1, 40);
    waitFor(watch, 1);
  };
  work(1);
  ThreadPool::instance().setThreads(1);
  int64_t least = threadCount();
  for (int i = 0; i < 200; i++) pause(1000), least = std::min(least, threadCount());
  for (const int threads : {6, 3, 8, 1}) {
    work(threads);
    CHECK(becomes(least + threads - 1)) << threadCount() << " threads, " << least << " of them with one in the pool";
  }
  resetThreads();
}

TEST("more threads help work that is in flight") {
  ThreadPool::instance().setThreads(1);
  Watch watch{4};
  submit(watch, 1, 200);
  while (watch.running == 0) pause(100);
  ThreadPool::instance().setThreads(4);
  waitFor(watch, 1);
  CHECK(watch.most == 4) << watch.most << " tasks at a time on 4 threads";
  resetThreads();
}

TEST("with fewer threads than before, a slot that is free is taken at once") {
  for (int round = 0; round < 10; round++) {
    // Of eight threads the newest is kept busy, so that those between it and the third cannot leave, and sleep.
    Meeting seven, eight;
    ThreadPool::instance().setThreads(7);
    gather(seven, 7);
    seven.change([&] { seven.open = true; });
    ThreadPool::instance().setThreads(8);
    gather(eight, 8);
    eight.change([&] {
      for (const auto id : eight.here)
        if (!seven.here.contains(id)) eight.held.insert(id);
      eight.open = true;
    });
    CHECK(eight.waitFor([&] { return eight.gone == 7; })) << eight.gone;
    pause(2000);
    ThreadPool::instance().setThreads(3);
    // The third slot is this thread's, which leaves it to another job while a pool thread goes on with its own.
    Meeting others;
    bool helped = false, taken = false;
    const auto other = std::make_shared<OwnJob>(1, [&](int64_t) { others.change([&] { taken = true; }); });
    const auto self = std::this_thread::get_id();
    const auto own = std::make_shared<OwnJob>(2, [&](int64_t) {
      if (std::this_thread::get_id() == self) {
        others.waitFor([&] { return others.here.size() == 1; });
        ThreadPool::instance().submit(other);
        pause(2000);
      } else {
        others.change([&] { others.here.insert(std::this_thread::get_id()); });
        helped = others.waitFor([&] { return taken; });
      }
    });
    ThreadPool::instance().runWith(own);
    eight.change([&] { eight.held.clear(); });
    CHECK(eight.waitFor([&] { return eight.gone == 8; })) << "";
    CHECK(others.waitFor([&] { return taken; })) << "";
    CHECK(helped) << "in round " << round << " a thread slept on";
  }
  resetThreads();
}
