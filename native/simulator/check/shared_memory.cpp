// Race and initialisation checks of shared memory.
#include "check/shared_memory.h"

#include <algorithm>
#include <cstring>

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

SharedMemory::SharedMemory(uint32_t bytes, int warps)
    : warps_(warps), bytes_(bytes, 0xff), words_((bytes + 3) / 4), reads_(words_.size() * static_cast<size_t>(warps)) {}

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

void SharedMemory::noteRead(size_t index, unsigned bytes, const SharedAccess& access, uint32_t time) {
  Reads& reads = reads_[static_cast<size_t>(access.warp) * words_.size() + index];
  const auto lane = static_cast<uint8_t>(access.lane | (access.proxied ? kByProxy : 0));
  if (reads.time < access.lastSync) reads.lanes.fill(kNobody);  // whoever is known since knows of those, too
  reads.time = time;
  if (bytes == 15 && (reads.lanes[0] == kNobody || reads.lanes[0] == lane) &&
      reads.bits() == reads.lanes[0] * 0x01010101u) {
    reads.lanes.fill(lane);
    return;
  }
  for (unsigned i = 0; i < 4; i++) {
    uint8_t& reader = reads.lanes[i];
    if (!(bytes >> i & 1) || reader == lane) continue;
    reader = reader == kNobody ? lane : static_cast<uint8_t>(kEveryLane | (reader & lane & kByProxy));
  }
}

void SharedMemory::checkAgainstReads(size_t index, unsigned bytes, const SharedAccess& access,
                                     Violation& violation) const {
  for (int warp = 0; warp < warps_; warp++) {
    const Reads& reads = reads_[static_cast<size_t>(warp) * words_.size() + index];
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

// Whether the word's last write needs no further look before `access`: the usual case.
inline bool SharedMemory::isQuiet(const Word& word, const SharedAccess& access) {
  if (word.inFlight) return false;
  if (word.writer == kNobody) return true;
  if (word.writer == access.warp) return isSameLane(word.writerLane, access.lane) || word.writeTime < access.lastSync;
  return word.writeTime <= access.known->at[word.writer];
}

bool SharedMemory::read(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation) {
  bool defined = true;
  const uint32_t time = access.known->at[access.warp];
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    Word& word = words_[index];
    const unsigned bytes = bytesOf(index, address, size);
    defined &= (word.defined & bytes) == bytes;
    if (!isQuiet(word, access)) {
      if (word.inFlight)
        note(violation, "copy-in-flight",
             "read of shared memory at " + hexadecimal(index * 4) + " while an asynchronous copy into it is in flight");
      checkAgainstWrite(word, index * 4, bytes, access, true, violation);
    }
    if (access.atomic) continue;
    noteRead(index, bytes, access, time);
    word.readBytes |= bytes;
  }
  return defined;
}

bool SharedMemory::readAsync(uint32_t address, uint32_t size, const SharedAccess& access, uint32_t time,
                             Violation& violation) {
  bool defined = true;
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    Word& word = words_[index];
    const unsigned bytes = bytesOf(index, address, size);
    defined &= (word.defined & bytes) == bytes;
    noteRead(index, bytes, access, time);
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
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    Word& word = words_[index];
    const unsigned bytes = bytesOf(index, address, size);
    if (access.proxied && word.writer != kNobody) checkProxy(word, index * 4, access, violation);
    if (!isQuiet(word, access)) {
      if (word.inFlight)
        note(
            violation, "copy-in-flight",
            "write of shared memory at " + hexadecimal(index * 4) + " while an asynchronous copy into it is in flight");
      checkAgainstWrite(word, index * 4, bytes, access, false, violation);
    }
    if (const unsigned read = word.readBytes & bytes) checkAgainstReads(index, read, access, violation);
    // Several lanes of one instruction that store parts of one word count as one write of them all.
    const bool sameMoment =
        word.writer == access.warp && word.writeTime == access.known->at[access.warp] && word.writerLane == access.lane;
    word.written = static_cast<uint8_t>(sameMoment ? word.written | bytes : bytes);
    word.readBytes &= static_cast<uint8_t>(~bytes);
    word.writer = static_cast<uint8_t>(access.warp);
    word.writerLane = static_cast<uint8_t>(access.lane);
    word.writeTime = access.known->at[access.warp];
    word.atomic = access.atomic;
    word.inFlight = 0;
    word.defined = static_cast<uint8_t>(defined ? word.defined | bytes : word.defined & ~bytes);
  }
}

void SharedMemory::beginCopy(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation) {
  write(address, size, access, false, violation);
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) words_[index].inFlight = 1;
  std::memset(at(address), 0xff, size);
}

void SharedMemory::endCopy(uint32_t address, uint32_t size, const SharedAccess& access, bool defined) {
  version_++;
  for (uint32_t index = address / 4; index <= (address + size - 1) / 4; index++) {
    Word& word = words_[index];
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
    if ((words_[index].defined & bytes) != bytes) return false;
  }
  return true;
}

}  // namespace fovea::simulator
