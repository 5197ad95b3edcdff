// A CTA's shared memory with its shadow: for each 4-byte word, which bytes are defined, who wrote it last and when, who
// read it since, and whether an asynchronous copy into it is still in flight.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "check/clock.h"

namespace fovea::simulator {

// One access by one warp, as the race check needs it.
struct SharedAccess {
  int warp = 0;
  int lane = 0;           // kEveryLane for ldmatrix and stmatrix, which move data between lanes; kAnyLane for wgmma
  uint32_t lastSync = 0;  // the warp's time when its lanes were last synchronised with one another
  const LocalTime* known = nullptr;
  bool atomic = false;
  // For the asynchronous proxy: what proxy fences cover. Null for ordinary accesses.
  const LocalTime* proxied = nullptr;
};

struct Violation {
  const char* kind = nullptr;  // null: none
  std::string message;
};

class SharedMemory {
 public:
  // `bytes` includes the unusable first kSharedBase bytes. Content starts as NaN patterns.
  SharedMemory(uint32_t bytes, int warps);
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  uint32_t end() const { return static_cast<uint32_t>(storage_.bytes.size()); }
  uint8_t* at(uint32_t address) { return &storage_.bytes[address]; }

  // The range must lie inside the memory. The first violation is stored in `violation` if that is still empty.
  // Returns whether all bytes read are defined.
  bool read(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation);
  // A read by the asynchronous proxy on behalf of `access.warp`, which waits for it at `time`. What is not known in
  // `access.known` was written too late.
  bool readAsync(uint32_t address, uint32_t size, const SharedAccess& access, uint32_t time, Violation& violation);
  // `defined`: false stores poison.
  void write(uint32_t address, uint32_t size, const SharedAccess& access, bool defined, Violation& violation);
  // An asynchronous copy into the range begins: its bytes become NaN patterns that nobody may touch.
  void beginCopy(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation);
  // The copy is over, and was made by access.warp (an agent of the clocks): `defined` bytes hold data, the rest poison.
  void endCopy(uint32_t address, uint32_t size, const SharedAccess& access, bool defined);
  bool isDefined(uint32_t address, uint32_t size) const;
  // Grows with every change of the content.
  uint64_t version() const { return version_; }

 private:
  struct Word {
    uint32_t writeTime = 0;
    uint8_t writer = kNobody;
    uint8_t writerLane = 0;
    uint8_t defined : 4 = 0;    // bytes
    uint8_t written : 4 = 0;    // bytes of the last write
    uint8_t readBytes : 4 = 0;  // bytes read since the last ordered write
    uint8_t inFlight : 1 = 0;
    uint8_t atomic : 1 = 0;
  };
  static constexpr uint8_t kNobody = 255;

  // The last reads of a word by one warp.
  struct Reads {
    uint32_t time = 0;
    std::array<uint8_t, 4> lanes{kNobody, kNobody, kNobody, kNobody};  // who read each byte at about that time
    uint32_t bits() const { return std::bit_cast<uint32_t>(lanes); }
  };
  static constexpr uint8_t kByProxy = 0x40;  // beside a lane: the read was the asynchronous proxy's

  void checkAgainstWrite(const Word& word, uint32_t address, unsigned bytes, const SharedAccess& access, bool isRead,
                         Violation& violation) const;
  void checkProxy(const Word& word, uint32_t address, const SharedAccess& access, Violation& violation) const;
  Reads* readsBy(int warp) { return storage_.reads.data() + static_cast<size_t>(warp) * storage_.words.size(); }
  static uint8_t readerOf(const SharedAccess& access) {
    return static_cast<uint8_t>(access.lane | (access.proxied ? kByProxy : 0));
  }
  static void noteRead(Reads& reads, unsigned bytes, uint8_t reader, uint32_t lastSync, uint32_t time);
  void checkAgainstReads(size_t index, unsigned bytes, const SharedAccess& access, Violation& violation) const;
  static bool isQuiet(const Word& word, int warp, int lane, uint32_t lastSync, const uint32_t* known);

  int warps_;
  uint64_t version_ = 0;
  struct Storage {
    std::vector<uint8_t> bytes;
    std::vector<Word> words;
    std::vector<Reads> reads;  // per warp and word
  };
  // Of the CTA that this thread had before: to fill it again costs less than fresh pages.
  static Storage& spare();

  Storage storage_;
};

}  // namespace fovea::simulator
