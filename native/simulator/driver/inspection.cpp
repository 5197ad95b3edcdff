// Reports and counters for tests: the fovea_sim_* functions and the counters file.
#include <cstdio>
#include <mutex>
#include <stdexcept>

#include "driver/api.h"
#include "fovea_sim.h"

namespace fovea::simulator {
namespace {

std::mutex mutex;
struct History {
  std::string reports, counters;
  int reportCount = 0;
  std::string lastReport;
};

History& history() {
  static auto* all = new History;
  return *all;
}
// What the last call returned.
std::string& answer() {
  static thread_local std::string text;
  return text;
}

std::string triple(const Dim3& values) {
  return "[" + std::to_string(values[0]) + "," + std::to_string(values[1]) + "," + std::to_string(values[2]) + "]";
}

std::string jsonLine(const LaunchRecord& record) {
  std::string kinds;
  for (const Report& report : record.reports) kinds += (kinds.empty() ? "\"" : ",\"") + report.kind + "\"";
  return "{\"kernel\":\"" + record.kernel + "\",\"grid\":" + triple(record.grid) +
         ",\"block\":" + triple(record.block) + ",\"sharedBytes\":" + std::to_string(record.sharedBytes) +
         ",\"reports\":[" + kinds + "],\"counters\":" + record.counters.json() + "}\n";
}

}  // namespace

void recordLaunch(const LaunchRecord& record) {
  std::lock_guard lock(mutex);
  const std::string line = jsonLine(record);
  history().counters += line;
  if (!record.reports.empty()) history().lastReport = record.reports.front().text();
  for (const Report& report : record.reports) {
    const std::string text = report.text();
    history().reports += text + "\n\n";
    history().reportCount++;
    if (!settings().quiet) complain(text);
  }
  const std::string& path = settings().countersPath;
  if (path.empty()) return;
  if (std::FILE* file = std::fopen(path.c_str(), "a")) {
    std::fwrite(line.data(), 1, line.size(), file);
    std::fclose(file);
  }
}

std::string lastReport() {
  std::lock_guard lock(mutex);
  return history().lastReport;
}

void forgetLastReport() {
  std::lock_guard lock(mutex);
  history().lastReport.clear();
}

}  // namespace fovea::simulator

using namespace fovea::simulator;

FOVEA_CUDA_API int fovea_sim_configure(const char* name, const char* value) {
  try {
    configure(settings(), name, value);
    return 0;
  } catch (const std::invalid_argument& error) {
    complain(error.what());
    return 1;
  }
}

FOVEA_CUDA_API const char* fovea_sim_reports() {
  std::lock_guard lock(mutex);
  return (answer() = history().reports).c_str();
}

FOVEA_CUDA_API int fovea_sim_report_count() {
  std::lock_guard lock(mutex);
  return history().reportCount;
}

FOVEA_CUDA_API const char* fovea_sim_counters() {
  std::lock_guard lock(mutex);
  return (answer() = history().counters).c_str();
}

FOVEA_CUDA_API void fovea_sim_clear() {
  std::lock_guard lock(mutex);
  history() = {};
}
