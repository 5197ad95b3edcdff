// Allocations, and race checks on global memory.
#include "check/global_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "check/report.h"

namespace fovea::simulator {

// ---------------------------------------------------------------------------------------------- allocations

void Allocation::Unmap::operator()(void* memory) const { munmap(memory, bytes); }

// Zero pages that cost nothing until they are touched.
template <class T>
Allocation::Mapped<T> Allocation::map(size_t count) {
  const size_t bytes = std::max<size_t>(count * sizeof(T), 1);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return Mapped<T>(static_cast<T*>(memory), Unmap{bytes});
}

// NaN in every floating type. Of large allocations most is never touched: they are pages of one small file, mapped
// again and again, which cost nothing until they are written.
static void fill(uint8_t* bytes, size_t size) {
  constexpr size_t piece = size_t{16} << 20, large = size_t{1} << 30;
  constexpr int value = 0xff, access = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE;
  if (size < large) {
    std::memset(bytes, value, size);
    return;
  }
  static const int file = [] {
    const int made = memfd_create("undefined", MFD_CLOEXEC);
    if (made < 0 || ftruncate(made, piece) != 0) throw std::bad_alloc();
    void* content = mmap(nullptr, piece, access, MAP_SHARED, made, 0);
    if (content == MAP_FAILED) throw std::bad_alloc();
    std::memset(content, value, piece);
    munmap(content, piece);
    return made;
  }();
  for (size_t at = 0; at < size; at += piece)
    if (mmap(bytes + at, std::min(piece, size - at), access, flags, file, 0) == MAP_FAILED) throw std::bad_alloc();
}

Allocation::Allocation(uint64_t address, uint64_t size)
    : address(address),
      size(size),
      bytes_(map<uint8_t>(size)),
      defined_(map<uint8_t>(size)),
      writers_(map<std::atomic<uint64_t>>(size / 4 + 1)),
      readers_(map<std::atomic<uint64_t>>(size / 4 + 1)) {
  fill(bytes_.get(), size);
}

void Allocation::setDefined(uint64_t at, uint64_t bytes, bool defined) {
  std::memset(defined_.get() + (at - address), defined, bytes);
}

void Allocation::forgetAccesses() {
  // MADV_DONTNEED gives zero pages again.
  madvise(writers_.get(), writers_.get_deleter().bytes, MADV_DONTNEED);
  madvise(readers_.get(), readers_.get_deleter().bytes, MADV_DONTNEED);
}

void Allocation::forgetWriters(uint64_t at, uint64_t bytes) {
  std::atomic<uint64_t>* const begin = &writer(at);
  std::atomic<uint64_t>* const end = &writer(at + bytes - 1) + 1;
  // Whole pages at once: most were never touched, and are to stay so.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t last = reinterpret_cast<uintptr_t>(end) / page * page;
  const auto clear = [](std::atomic<uint64_t>* word, const std::atomic<uint64_t>* past) {
    for (; word != past; word++) word->store(0, std::memory_order_relaxed);
  };
  if (first >= last) return clear(begin, end);
  clear(begin, reinterpret_cast<std::atomic<uint64_t>*>(first));
  madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  clear(reinterpret_cast<std::atomic<uint64_t>*>(last), end);
}

uint64_t GlobalMemory::reserve(uint64_t size) {
  std::lock_guard lock(mutex_);
  const uint64_t address = next_;
  next_ += (size + 511) / 512 * 512 + 4096;
  reserved_[address] = size;
  return address;
}

void GlobalMemory::activate(uint64_t address) {
  std::lock_guard lock(mutex_);
  const auto found = reserved_.find(address);
  live_[address] = std::make_shared<Allocation>(address, found->second);
  reserved_.erase(found);
}

bool GlobalMemory::isReserved(uint64_t address) const {
  std::lock_guard lock(mutex_);
  auto found = reserved_.upper_bound(address);
  if (found == reserved_.begin()) return false;
  --found;
  return address < found->first + found->second;
}

bool GlobalMemory::free(uint64_t address) {
  std::lock_guard lock(mutex_);
  const auto found = live_.find(address);
  if (found == live_.end()) return false;
  freed_[address] = found->second->size;
  live_.erase(found);
  return true;
}

std::shared_ptr<Allocation> GlobalMemory::find(uint64_t address) const {
  std::lock_guard lock(mutex_);
  auto found = live_.upper_bound(address);
  if (found == live_.begin()) return nullptr;
  --found;
  return found->second->contains(address, 1) ? found->second : nullptr;
}

std::string GlobalMemory::describe(uint64_t address) const {
  if (isReserved(address)) return "inside memory whose cuMemAllocAsync has not happened yet in stream order";
  std::lock_guard lock(mutex_);
  if (auto freed = freed_.upper_bound(address); freed != freed_.begin()) {
    --freed;
    if (address < freed->first + freed->second) return "inside memory that was freed";
  }
  if (live_.empty()) return "and there is no device memory";
  auto above = live_.upper_bound(address);
  if (above != live_.begin()) {
    const Allocation& below = *std::prev(above)->second;
    const uint64_t offset = address - below.address;
    const uint64_t past = offset - below.size;
    if (offset < below.size) return "inside an allocation of " + std::to_string(below.size) + " bytes, past its end";
    if (past < 1u << 30)
      return std::to_string(past) + " bytes past the end of an allocation of " + std::to_string(below.size) + " bytes";
  }
  if (above != live_.end() && above->first - address < 1u << 30)
    return std::to_string(above->first - address) + " bytes before an allocation";
  return "far from every allocation";
}

std::vector<std::shared_ptr<Allocation>> GlobalMemory::all() const {
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Allocation>> list;
  for (const auto& [address, allocation] : live_) list.push_back(allocation);
  return list;
}

void GlobalMemory::forgetAccesses() {
  for (const auto& allocation : all()) allocation->forgetAccesses();
  std::lock_guard lock(mutex_);
  mapReleases_.clear();
}

// ---------------------------------------------------------------------------------------------- races

namespace {

// A packed access: launch 12 bits, strong 1, several 1, bytes 4 (of 5), CTA 24, warp 5, time 16 (saturating).
struct Stamp {
  uint32_t launch = 0;
  bool strong = false;
  bool severalCtas = false;  // readers: more than this one, unordered
  unsigned bytes = 0;
  uint32_t cta = 0;
  uint32_t warp = 0;
  uint32_t time = 0;
};
constexpr uint32_t kCtaMask = (1u << 24) - 1;
constexpr uint32_t kTimeLimit = (1u << 16) - 1;

uint64_t pack(const Stamp& stamp) {
  return static_cast<uint64_t>(stamp.launch) << 52 | static_cast<uint64_t>(stamp.strong) << 51 |
         static_cast<uint64_t>(stamp.severalCtas) << 50 | static_cast<uint64_t>(stamp.bytes) << 45 |
         static_cast<uint64_t>(stamp.cta & kCtaMask) << 21 | static_cast<uint64_t>(stamp.warp) << 16 |
         std::min(stamp.time, kTimeLimit);
}

Stamp unpack(uint64_t bits) {
  Stamp stamp;
  stamp.launch = static_cast<uint32_t>(bits >> 52);
  stamp.strong = bits >> 51 & 1;
  stamp.severalCtas = bits >> 50 & 1;
  stamp.bytes = static_cast<unsigned>(bits >> 45 & 15);
  stamp.cta = static_cast<uint32_t>(bits >> 21) & kCtaMask;
  stamp.warp = static_cast<uint32_t>(bits >> 16 & 31);
  stamp.time = static_cast<uint32_t>(bits & kTimeLimit);
  return stamp;
}

// Whether the access behind `stamp` happened before what `access` does now.
bool isOrdered(const Stamp& stamp, const GlobalAccess& access) {
  if (stamp.time == kTimeLimit) return true;  // time ran out of bits: unknown
  const LocalTime* known = &access.known->local;
  if (stamp.cta != (access.cta & kCtaMask)) known = access.known->others.find(stamp.cta);
  return known && known->knows(static_cast<int>(stamp.warp), kAnyLane, stamp.time);
}

bool isSelf(const Stamp& stamp, const GlobalAccess& access) {
  return stamp.cta == (access.cta & kCtaMask) && stamp.warp == static_cast<uint32_t>(access.warp);
}

std::string place(const Stamp& stamp) {
  return "CTA number " + std::to_string(stamp.cta) + " warp " + std::to_string(stamp.warp);
}

unsigned bytesOf(uint64_t word, uint64_t address, uint32_t size) {
  const auto begin = static_cast<unsigned>(std::max(word, address) - word);
  const auto end = static_cast<unsigned>(std::min(word + 4, address + size) - word);
  return ((1u << end) - 1) & ~((1u << begin) - 1);
}

void note(Violation& violation, std::string message) {
  if (violation.kind) return;
  violation.kind = "race-global";
  violation.message = std::move(message);
}

void checkAgainstWriter(const Stamp& writer, uint64_t word, unsigned bytes, const GlobalAccess& access,
                        const char* what, Violation& violation) {
  if (writer.launch != access.launch || !(writer.bytes & bytes) || isSelf(writer, access)) return;
  if ((writer.strong && access.strong) || isOrdered(writer, access)) return;
  note(violation, std::string(what) + " of global memory at " + hexadecimal(word) + " that " + place(writer) +
                      " of the same launch writes, with nothing that orders the two");
}

// Whether what `reader` left, for several CTAs, of this launch and as strong, covers what `own` of another CTA reads.
bool countsAsWell(uint64_t reader, uint64_t own) {
  const uint64_t different = reader ^ own;
  return different >> 51 == 0 && reader >> 50 & 1 && (own & ~reader) >> 45 << 60 == 0 &&
         (different >> 21 & kCtaMask) != 0 && (reader & kTimeLimit) != kTimeLimit;
}

Stamp stampOf(const GlobalAccess& access, unsigned bytes) {
  Stamp stamp;
  stamp.launch = access.launch;
  stamp.strong = access.strong;
  stamp.bytes = bytes;
  stamp.cta = access.cta & kCtaMask;
  stamp.warp = static_cast<uint32_t>(access.warp);
  stamp.time = access.known->local.at[access.warp];
  return stamp;
}

}  // namespace

void GlobalMemory::releaseMaps(const GlobalAccess& access) {
  const Stamp now = stampOf(access, 0);
  std::lock_guard lock(mutex_);
  mapReleases_[{now.launch, now.cta, now.warp}] = now.time;
}

bool GlobalMemory::isMapReleased(Allocation& memory, uint64_t address, uint64_t bytes) const {
  std::lock_guard lock(mutex_);
  for (uint64_t word = address & ~3ull; word < address + bytes; word += 4) {
    const Stamp writer = unpack(memory.writer(word).load());
    if (writer.launch == 0) continue;  // no kernel wrote it
    const auto released = mapReleases_.find({writer.launch, writer.cta, writer.warp});
    if (released == mapReleases_.end() || std::min(released->second, kTimeLimit) < writer.time) return false;
  }
  return true;
}

// CTAs run on several threads. A reader leaves its stamp before it looks at the writer's, a writer its own before it
// looks at the readers' (all sequentially consistent), so of two conflicting accesses at least one sees the other.

void checkGlobalRead(Allocation& memory, uint64_t address, uint32_t size, const GlobalAccess& access,
                     Violation& violation) {
  const uint64_t whole = pack(stampOf(access, 15));
  const bool knowsOthers = !access.known->others.empty();
  for (uint64_t word = address & ~3ull; word < address + size; word += 4) {
    const unsigned bytes = bytesOf(word, address, size);
    const uint64_t own = bytes == 15 ? whole : pack(stampOf(access, bytes));
    std::atomic<uint64_t>& cell = memory.reader(word);
    uint64_t readerBits = cell.load();
    while (true) {
      // Nobody read it in this launch, or this warp itself did (CTA and warp agree): what it did before is ordered.
      if (readerBits >> 52 != own >> 52 || (readerBits ^ own) << 19 >> 35 == 0) {
        if (readerBits == own || cell.compare_exchange_weak(readerBits, own)) break;
        continue;
      }
      // Another CTA, of which this one knows nothing, stands there for several, and for these bytes: what follows would
      // leave it so. The usual case of what all CTAs read.
      if (!knowsOthers && countsAsWell(readerBits, own)) break;
      const Stamp reader = unpack(readerBits);
      Stamp next = stampOf(access, bytes);
      if (!isOrdered(reader, access)) {
        next.bytes |= reader.bytes;
        next.strong &= reader.strong;
        next.severalCtas = reader.severalCtas || reader.cta != next.cta;
        if (next.severalCtas || reader.warp != next.warp) {
          next.cta = reader.cta;
          next.warp = reader.warp;
          next.time = reader.time;
        }
      }
      const uint64_t bits = pack(next);
      if (bits == readerBits || cell.compare_exchange_weak(readerBits, bits)) break;
    }
    const uint64_t writerBits = memory.writer(word).load();
    if (writerBits >> 52 == access.launch)
      checkAgainstWriter(unpack(writerBits), word, bytes, access, "read", violation);
  }
}

void checkGlobalWrite(Allocation& memory, uint64_t address, uint32_t size, const GlobalAccess& access,
                      Violation& violation) {
  for (uint64_t word = address & ~3ull; word < address + size; word += 4) {
    const unsigned bytes = bytesOf(word, address, size);
    std::atomic<uint64_t>& cell = memory.writer(word);
    Stamp next = stampOf(access, bytes);
    const Stamp before = unpack(cell.load());
    if (before.launch == access.launch && isSelf(before, access) && before.time == next.time) {
      next.bytes |= before.bytes;
      next.strong &= before.strong;
    }
    checkAgainstWriter(unpack(cell.exchange(pack(next))), word, bytes, access, "write", violation);

    const Stamp reader = unpack(memory.reader(word).load());
    const bool overlaps = reader.launch == access.launch && (reader.bytes & bytes) && !(reader.strong && access.strong);
    if (overlaps && !isSelf(reader, access) && !isOrdered(reader, access)) {
      note(violation, "write of global memory at " + hexadecimal(word) + " that " + place(reader) +
                          " of the same launch reads, with nothing that orders the two");
    } else if (overlaps && reader.severalCtas && access.known->others.empty()) {
      // Of several readers only the first is known by time. A writer that waited for others at all may have waited for
      // the rest of them too, and the check keeps silent.
      note(violation, "write of global memory at " + hexadecimal(word) +
                          " that several CTAs of the same launch read, with nothing that orders them");
    }
  }
}

}  // namespace fovea::simulator
