// Race and initialisation checks of shared memory.
#include "check/shared_memory.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "async/mbarriers.h"
#include "check/report.h"

namespace fovea::simulator {
namespace {

// The bytes of word `index` that [address, address + size) covers, as a 4-bit mask.
inline unsigned bytesOf(uint32_t index, uint32_t address, uint32_t size) {
  if (((address | size) & 3) == 0) return 15;
  const uint32_t begin = std::max(index * 4, address) - index * 4;
  const uint32_t end = std::min(index * 4 + 4, address + size) - index * 4;
  return ((1u << end) - 1) & ~((1u << begin) - 1);
}

void note(Violation& violation, const char* kind, std::string message) {
  if (violation.kind) return;
  violation.kind = kind;
  violation.message = std::move(message);
}

bool isSameLane(int one, int other) { return one == other && one < kEveryLane; }

std::string who(int warp, int lane) {
  if (warp >= kFirstAsyncAgent) return "an asynchronous copy whose mbarrier was not waited for";
  return "warp " + std::to_string(warp) + (lane < kEveryLane ? " lane " + std::to_string(lane) : "");
}

}  // namespace

SharedMemory::Storage& SharedMemory::spare() {
  static thread_local Storage storage;
  return storage;
}

SharedMemory::SharedMemory(uint32_t bytes, int warps) : warps_(warps), storage_(std::move(spare())) {
  storage_.bytes.assign(bytes, 0xff);
  storage_.words.assign((bytes + 3) / 4, {});
  storage_.reads.assign(storage_.words.size() * static_cast<size_t>(warps), {});
}

SharedMemory::~SharedMemory() { spare() = std::move(storage_); }

void SharedMemory::checkAgainstWrite(const Word& word, uint32_t address, unsigned bytes, const SharedAccess& access,
                                     bool isRead, Violation& violation) const {
  if (word.writer == kNobody || !(word.written & bytes) || (word.atomic && access.atomic)) return;
  const char* what = isRead ? "read" : "write";
  if (word.writer == access.warp) {
    // Two lanes that write one word leave one of the values there; only reading another lane's value needs an order.
    if (isRead && !isSameLane(word.writerLane, access.lane) && word.writeTime >= access.lastSync)
      note(violation, "race-shared",
           std::string(what) + " of shared memory at " + hexadecimal(address) + " written by " +
               who(word.writer, word.writerLane) + " of the same warp, with no __syncwarp or barrier between");
  } else if (!access.known->knows(word.writer, word.writerLane, word.writeTime)) {
    note(violation, "race-shared",
         std::string(what) + " of shared memory at " + hexadecimal(address) + " written by " +
             who(word.writer, word.writerLane) + ", with no barrier between");
  }
}

void SharedMemory::checkProxy(const Word& word, uint32_t address, const SharedAccess& access,
                              Violation& violation) const {
  if (!access.proxied || word.writer >= kFirstAsyncAgent) return;
  if (access.proxied->knows(word.writer, word.writerLane, word.writeTime)) return;
  note(violation, "missing-proxy-fence",
       "the asynchronous proxy accesses shared memory at " + hexadecimal(address) + " written by " +
           who(word.writer, word.writerLane) + ", with no fence.proxy.async between");
}

inline void SharedMemory::noteRead(Reads& reads, unsigned bytes, uint8_t reader, uint32_t lastSync, uint32_t time) {
  const uint32_t nobody = kNobody * 0x01010101u, four = reader * 0x01010101u;
  // Whoever is known since the lanes were synchronised knows of those that read before, too.
  const uint32_t before = reads.time < lastSync ? nobody : reads.bits();
  if (bytes == 15 && (before == nobody || before == four)) {
    reads = {time, std::bit_cast<std::array<uint8_t, 4>>(four)};
    return;
  }
  reads = {time, std::bit_cast<std::array<uint8_t, 4>>(before)};
  for (unsigned i = 0; i < 4; i++) {
    uint8_t& known = reads.lanes[i];
    if (!(bytes >> i & 1) || known == reader) continue;
    known = known == kNobody ? reader : static_cast<uint8_t>(kEveryLane | (known & reader & kByProxy));
  }
}

void SharedMemory::checkAgainstReads(size_t index, unsigned bytes, const SharedAccess& access,
                                     Violation& violation) const {
  for (int warp = 0; warp < warps_; warp++) {
    const Reads& reads = storage_.reads[static_cast<size_t>(warp) * storage_.words.size() + index];
    if (reads.time == 0) continue;
    const bool ordered = warp == access.warp ? reads.time < access.lastSync : reads.time <= access.known->at[warp];
    if (ordered && (!access.proxied || reads.time <= access.proxied->at[warp])) continue;
    for (unsigned i = 0; i < 4; i++) {
      if (!(bytes >> i & 1) || (i > 0 && bytes == 15 && reads.lanes[i] == reads.lanes[i - 1])) continue;
      const bool byProxy = reads.lanes[i] != kNobody && reads.lanes[i] & kByProxy;
      const int lane = reads.lanes[i] == kNobody ? kAnyLane : reads.lanes[i] & ~kByProxy;
      if (warp == access.warp) {
        if (lane != kAnyLane && !isSameLane(lane, access.lane) && reads.time >= access.lastSync)
          note(violation, "race-shared",
               "write of shared memory at " + hexadecimal(index * 4) + " that another lane of the same warp read, " +
                   "with no __syncwarp or barrier between");
      } else if (!access.known->knows(warp, lane, reads.time)) {
        note(violation, "race-shared",
             "write of shared memory at " + hexadecimal(index * 4) + " that warp " + std::to_string(warp) +
                 " read, with no barrier between");
      }
      if (access.proxied && !byProxy && !access.proxied->knows(warp, lane, reads.time))
        note(violation, "missing-proxy-fence",
             "the asynchronous proxy writes shared memory at " + hexadecimal(index * 4) + " that warp " +
                 std::to_string(warp) + " read, with no fence.proxy.async between");
    }
  }
}

// Whether the word's last write needs no further look before an access, of which this is what it takes to know: the
// usual case. `read` and `write` keep that in variables, which no store into the shadow can change.
inline bool SharedMemory::isQuiet(const Word& word, int warp, int lane, uint32_t lastSync, const uint32_t* known) {
  if (word.inFlight) return false;
  if (word.writer == kNobody) return true;
  if (word.writer == warp) return isSameLane(word.writerLane, lane) || word.writeTime < lastSync;
  return word.writeTime <= known[word.writer];
}

bool SharedMemory::read(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation) {
  unsigned undefined = 0;
  const int warp = access.warp, lane = access.lane;
  const uint32_t lastSync = access.lastSync, last = (address + size - 1) / 4;
  const uint32_t* const known = access.known->at.data();
  const uint32_t time = known[warp];
  const uint8_t reader = readerOf(access);
  Word* const words = storage_.words.data();
  Reads* const reads = access.atomic ? nullptr : readsBy(warp);
  for (uint32_t index = address / 4; index <= last; index++) {
    Word& word = words[index];
    const unsigned bytes = bytesOf(index, address, size);
    undefined |= bytes & ~unsigned{word.defined};
    if (!isQuiet(word, warp, lane, lastSync, known)) {
      if (word.inFlight)
        note(violation, "copy-in-flight",
             "read of shared memory at " + hexadecimal(index * 4) + " while an asynchronous copy into it is in flight");
      checkAgainstWrite(word, index * 4, bytes, access, true, violation);
    }
    if (!reads) continue;
    noteRead(reads[index], bytes, reader, lastSync, time);
    word.readBytes |= bytes;
  }
  return undefined == 0;
}

bool SharedMemory::readAsync(uint32_t address, uint32_t size, const SharedAccess& access, uint32_t time,
                             Violation& violation) {
  bool defined = true;
  const uint8_t reader = readerOf(access);
  Reads* const reads = readsBy(access.warp);
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    Word& word = storage_.words[index];
    const unsigned bytes = bytesOf(index, address, size);
    defined &= (word.defined & bytes) == bytes;
    noteRead(reads[index], bytes, reader, access.lastSync, time);
    word.readBytes |= bytes;
    if (word.inFlight)
      note(violation, "copy-in-flight",
           "read of shared memory at " + hexadecimal(index * 4) + " while an asynchronous copy into it is in flight");
    if (word.writer == kNobody) continue;
    if (!access.known->knows(word.writer, word.writerLane, word.writeTime)) {
      note(violation, "race-shared",
           "asynchronous read of shared memory at " + hexadecimal(index * 4) + " written by " +
               who(word.writer, word.writerLane) + ", with nothing that orders the two");
    } else if (word.writer < kFirstAsyncAgent) {
      checkAgainstWrite(word, index * 4, bytes, access, true, violation);
      checkProxy(word, index * 4, access, violation);
    }
  }
  return defined;
}

void SharedMemory::write(uint32_t address, uint32_t size, const SharedAccess& access, bool defined,
                         Violation& violation) {
  version_++;
  const int warp = access.warp, lane = access.lane;
  const uint32_t lastSync = access.lastSync, last = (address + size - 1) / 4;
  const uint32_t* const known = access.known->at.data();
  const uint32_t time = known[warp];
  Word* const words = storage_.words.data();
  for (uint32_t index = address / 4; index <= last; index++) {
    Word& word = words[index];
    const unsigned bytes = bytesOf(index, address, size);
    if (access.proxied && word.writer != kNobody) checkProxy(word, index * 4, access, violation);
    if (!isQuiet(word, warp, lane, lastSync, known)) {
      if (word.inFlight)
        note(
            violation, "copy-in-flight",
            "write of shared memory at " + hexadecimal(index * 4) + " while an asynchronous copy into it is in flight");
      checkAgainstWrite(word, index * 4, bytes, access, false, violation);
    }
    if (const unsigned read = word.readBytes & bytes) checkAgainstReads(index, read, access, violation);
    // Several lanes of one instruction that store parts of one word count as one write of them all.
    const bool sameMoment = word.writer == warp && word.writeTime == time && word.writerLane == lane;
    word.written = static_cast<uint8_t>(sameMoment ? word.written | bytes : bytes);
    word.readBytes &= static_cast<uint8_t>(~bytes);
    word.writer = static_cast<uint8_t>(warp);
    word.writerLane = static_cast<uint8_t>(lane);
    word.writeTime = time;
    word.atomic = access.atomic;
    word.inFlight = 0;
    word.defined = static_cast<uint8_t>(defined ? word.defined | bytes : word.defined & ~bytes);
  }
}

void SharedMemory::beginCopy(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation) {
  write(address, size, access, false, violation);
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) storage_.words[index].inFlight = 1;
  std::memset(at(address), 0xff, size);
}

void SharedMemory::endCopy(uint32_t address, uint32_t size, const SharedAccess& access, bool defined) {
  version_++;
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    Word& word = storage_.words[index];
    const unsigned bytes = bytesOf(index, address, size);
    word.inFlight = 0;
    word.written = static_cast<uint8_t>(bytes);
    word.writer = static_cast<uint8_t>(access.warp);
    word.writerLane = static_cast<uint8_t>(access.lane);
    word.writeTime = access.known->at[access.warp];
    word.atomic = 0;
    word.defined = static_cast<uint8_t>(defined ? word.defined | bytes : word.defined & ~bytes);
  }
}

bool SharedMemory::isDefined(uint32_t address, uint32_t size) const {
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    const unsigned bytes = bytesOf(index, address, size);
    if ((storage_.words[index].defined & bytes) != bytes) return false;
  }
  return true;
}

}  // namespace fovea::simulator
