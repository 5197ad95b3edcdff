// Device memory: allocations with bounds, definedness per byte, and the shadow that finds races between and within
// CTAs.
//
// Device addresses are not host addresses: each device has its own range, allocations are 512-byte aligned with gaps
// between them, and freed ranges are not used again, so that every stray access is noticed.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "check/clock.h"
#include "check/shared_memory.h"

namespace fovea::simulator {

// Reads of never-written bytes give poison, but only stores to global memory tell defined from undefined.
class Allocation {
 public:
  Allocation(uint64_t address, uint64_t size);

  const uint64_t address;
  const uint64_t size;

  bool contains(uint64_t at, uint64_t bytes) const { return at >= address && at - address + bytes <= size; }
  uint8_t* data(uint64_t at) { return bytes_.get() + (at - address); }
  bool isDefined(uint64_t at, uint64_t bytes) const {
    const uint8_t* flags = defined_.get() + (at - address);
    for (; bytes >= 4; bytes -= 4, flags += 4) {
      uint32_t four;
      std::memcpy(&four, flags, 4);
      if (four != 0x01010101) return false;
    }
    uint8_t all = 1;
    for (uint64_t i = 0; i < bytes; i++) all &= flags[i];
    return all;
  }
  void setDefined(uint64_t at, uint64_t bytes, bool defined);
  void forgetAccesses();
  // The host, or a copy that it asked for, has written these bytes: no kernel has.
  void forgetWriters(uint64_t at, uint64_t bytes);

  // Who accessed each 4-byte word last in the current launch, packed (see global_memory.cpp). Relaxed atomics: CTAs on
  // several threads may touch the same word.
  std::atomic<uint64_t>& writer(uint64_t at) { return writers_.get()[(at - address) / 4]; }
  std::atomic<uint64_t>& reader(uint64_t at) { return readers_.get()[(at - address) / 4]; }

 private:
  struct Unmap {
    size_t bytes = 0;
    void operator()(void* memory) const;
  };
  template <class T>
  using Mapped = std::unique_ptr<T, Unmap>;
  template <class T>
  static Mapped<T> map(size_t count);

  Mapped<uint8_t> bytes_;
  Mapped<uint8_t> defined_;
  Mapped<std::atomic<uint64_t>> writers_;
  Mapped<std::atomic<uint64_t>> readers_;
};

// One access to global memory by one lane, as the race check needs it.
struct GlobalAccess {
  uint32_t launch = 0;
  uint32_t cta = 0;
  int warp = 0;
  const Knowledge* known = nullptr;
  bool strong = false;  // atomic, volatile, acquire, release
};

// All allocations of one device, and where freed ones were.
class GlobalMemory {
 public:
  explicit GlobalMemory(uint64_t base) : next_(base) {}

  // Chooses an address; the memory exists once it is activated (in stream order, for asynchronous allocation).
  uint64_t reserve(uint64_t size);
  void activate(uint64_t address);
  bool isReserved(uint64_t address) const;
  // Drops the allocation that starts at `address`; false when there is none.
  bool free(uint64_t address);
  std::shared_ptr<Allocation> find(uint64_t address) const;
  // "inside/after/… an allocation": what lies around a bad address.
  std::string describe(uint64_t address) const;
  std::vector<std::shared_ptr<Allocation>> all() const;

  // Launch numbers begin again.
  void forgetAccesses();

  // What the warp has written so far is released to the proxy that reads tensor maps; and whether what kernels wrote
  // last of these bytes is.
  void releaseMaps(const GlobalAccess& access);
  bool isMapReleased(Allocation& memory, uint64_t address, uint64_t bytes) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::tuple<uint32_t, uint32_t, uint32_t>, uint32_t> mapReleases_;  // launch, CTA, warp → time
  uint64_t next_;
  std::map<uint64_t, std::shared_ptr<Allocation>> live_;
  std::map<uint64_t, uint64_t> reserved_;  // address → size
  std::map<uint64_t, uint64_t> freed_;     // address → size
};

constexpr uint32_t kLaunchNumbers = 1u << 12;  // launch numbers repeat after so many (0 is none)

void checkGlobalRead(Allocation& memory, uint64_t address, uint32_t size, const GlobalAccess& access,
                     Violation& violation);
void checkGlobalWrite(Allocation& memory, uint64_t address, uint32_t size, const GlobalAccess& access,
                      Violation& violation);

}  // namespace fovea::simulator
