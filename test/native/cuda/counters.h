// What the simulator counted: how much work the kernels did.
#pragma once
#include <dlfcn.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "../../../native/cuda/driver.h"

namespace fovea::test {

/// One launch, from the simulator's JSON (fovea_sim.h).
class CountedLaunch {
 public:
  explicit CountedLaunch(std::string line) : line_(std::move(line)) {}
  std::string kernel() const {
    const size_t begin = line_.find(key("kernel")) + key("kernel").size() + 1;
    return line_.substr(begin, line_.find('"', begin) - begin);
  }
  double number(const std::string& name) const {
    const size_t at = line_.find(key(name));
    return at == std::string::npos ? 0 : std::strtod(line_.c_str() + at + key(name).size(), nullptr);
  }

 private:
  static std::string key(const std::string& name) { return "\"" + name + "\":"; }
  std::string line_;
};

/// The launches since the last clear().
class Counters {
 public:
  Counters() {
    void* library = dlopen(cuda::driver().path.c_str(), RTLD_NOW | RTLD_NOLOAD);
    read_ = reinterpret_cast<const char* (*)()>(dlsym(library, "fovea_sim_counters"));
    clear_ = reinterpret_cast<void (*)()>(dlsym(library, "fovea_sim_clear"));
  }
  void clear() const { clear_(); }
  std::vector<CountedLaunch> launches() const {
    std::vector<CountedLaunch> all;
    const std::string text = read_();
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      all.emplace_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return all;
  }
  /// Over launches of kernels whose name contains `kernel`.
  double sum(const std::string& name, const std::string& kernel = "") const {
    double total = 0;
    for (const CountedLaunch& launch : launches())
      if (launch.kernel().find(kernel) != std::string::npos) total += launch.number(name);
    return total;
  }

 private:
  const char* (*read_)();
  void (*clear_)();
};

inline bool isSimulator() { return cuda::driver().path.find("cudasim") != std::string::npos; }

}  // namespace fovea::test
