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

std::string who(int warp, int lane) {
  if (warp >= kFirstAsyncAgent) return "an asynchronous copy whose mbarrier was not waited for";
  return "warp " + std::to_string(warp) + (lane < kWholeWarp ? " lane " + std::to_string(lane) : "");
}

}  // namespace

SharedMemory::SharedMemory(uint32_t bytes, int warps)
    : warps_(warps),
      bytes_(bytes, 0xff),
      words_((bytes + 3) / 4),
      readTimes_(words_.size() * static_cast<size_t>(warps)) {}

void SharedMemory::checkAgainstWrite(const Word& word, uint32_t address, unsigned bytes, const SharedAccess& access,
                                     bool isRead, Violation& violation) const {
  if (word.writer == kNobody || !(word.written & bytes) || (word.atomic && access.atomic)) return;
  const char* what = isRead ? "read" : "write";
  if (word.writer == access.warp) {
    // Two lanes that write one word leave one of the values there; only reading another lane's value needs an order.
    if (isRead && word.writerLane != access.lane && word.writeTime >= access.lastSync)
      note(violation, "race-shared",
           std::string(what) + " of shared memory at " + hexadecimal(address) + " written by " +
               who(word.writer, word.writerLane) + " of the same warp, with no __syncwarp or barrier between");
  } else if (word.writeTime > access.known->at[word.writer]) {
    note(violation, "race-shared",
         std::string(what) + " of shared memory at " + hexadecimal(address) + " written by " +
             who(word.writer, word.writerLane) + ", with no barrier between");
  }
}

void SharedMemory::checkProxy(const Word& word, uint32_t address, const SharedAccess& access,
                              Violation& violation) const {
  if (!access.proxied || word.writer >= kFirstAsyncAgent || word.writeTime <= access.proxied->at[word.writer]) return;
  note(violation, "missing-proxy-fence",
       "the asynchronous proxy accesses shared memory at " + hexadecimal(address) + " written by " +
           who(word.writer, word.writerLane) + ", with no fence.proxy.async between");
}

void SharedMemory::checkAgainstReads(size_t index, const SharedAccess& access, Violation& violation) const {
  const uint32_t* times = &readTimes_[index * static_cast<size_t>(warps_)];
  for (int warp = 0; warp < warps_; warp++) {
    if (times[warp] <= access.known->at[warp] || warp == access.warp) continue;
    note(violation, "race-shared",
         "write of shared memory at " + hexadecimal(index * 4) + " that warp " + std::to_string(warp) +
             " read, with no barrier between");
  }
}

// Whether the word's last write needs no further look before `access`: the usual case.
inline bool SharedMemory::isQuiet(const Word& word, const SharedAccess& access) {
  if (word.inFlight) return false;
  if (word.writer == kNobody) return true;
  if (word.writer == access.warp) return word.writerLane == access.lane || word.writeTime < access.lastSync;
  return word.writeTime <= access.known->at[word.writer];
}

bool SharedMemory::read(uint32_t address, uint32_t size, const SharedAccess& access, Violation& violation) {
  bool defined = true;
  const uint32_t readTime = access.known->at[access.warp] + access.byGroup;
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
    readTimes_[index * static_cast<size_t>(warps_) + static_cast<size_t>(access.warp)] = readTime;
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
    readTimes_[index * static_cast<size_t>(warps_) + static_cast<size_t>(access.warp)] = time;
    word.readBytes |= bytes;
    if (word.inFlight)
      note(violation, "copy-in-flight",
           "read of shared memory at " + hexadecimal(index * 4) + " while an asynchronous copy into it is in flight");
    if (word.writer == kNobody) continue;
    if (word.writeTime > access.known->at[word.writer]) {
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
    if (word.readBytes & bytes) checkAgainstReads(index, access, violation);
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
