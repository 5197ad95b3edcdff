// Reading fatbins, and register counts from the cubins in them.
#include "driver/fatbin.h"

#include <elf.h>

#include <algorithm>
#include <cctype>
#include <cstring>

#ifdef FOVEA_SIMULATOR_ZSTD
#include <zstd.h>
#endif

namespace fovea::simulator {
namespace {

constexpr uint32_t kWrapperMagic = 0x466243b1, kFatbinMagic = 0xba55ed50;

struct Wrapper {
  uint32_t magic, version;
  const void* data;
  const void* file;
};
struct Header {
  uint32_t magic;
  uint16_t version, headerBytes;
  uint64_t bytes;  // of all entries
};
struct Entry {
  uint16_t kind, version;
  uint32_t headerBytes;
  uint64_t bytes;            // of the stored payload, with padding
  uint32_t compressedBytes;  // of the payload, when it is compressed
  uint32_t optionsOffset;
  uint16_t minor, major;
  uint32_t architecture;
  uint32_t nameOffset, nameBytes;
  uint64_t flags;
  uint64_t reserved;
  uint64_t uncompressedBytes;
};
constexpr uint16_t kKindPtx = 1, kKindElf = 2;
constexpr uint64_t kFlagLz4 = 0x2000, kFlagZstd = 0x8000;

// False with `problem` set when the payload cannot be read.
bool payloadOf(const Entry& entry, const uint8_t* at, std::string& out, std::string& problem) {
  const auto* payload = at + entry.headerBytes;
  if (!(entry.flags & (kFlagLz4 | kFlagZstd))) {
    out.assign(reinterpret_cast<const char*>(payload), entry.bytes);
    return true;
  }
  if (entry.flags & kFlagLz4) {
    problem = "an entry is compressed with LZ4, which the simulator does not read: build with --compress-mode=none";
    return false;
  }
#ifdef FOVEA_SIMULATOR_ZSTD
  out.resize(entry.uncompressedBytes);
  const size_t size = ZSTD_decompress(out.data(), out.size(), payload, entry.compressedBytes);
  if (ZSTD_isError(size)) {
    problem = std::string("zstd: ") + ZSTD_getErrorName(size);
    return false;
  }
  out.resize(size);
  return true;
#else
  problem =
      "an entry is compressed and the simulator was built without libzstd: install libzstd-dev and build again, or "
      "compile the kernels with nvcc --compress-mode=none";
  return false;
#endif
}

// "80" of ".target sm_80", and whether a letter follows.
bool parseTarget(const std::string& ptx, int& architecture, char& suffix) {
  const size_t at = ptx.find(".target");
  const size_t name = at == std::string::npos ? at : ptx.find("sm_", at);
  if (name == std::string::npos) return false;
  size_t end = name + 3;
  architecture = 0;
  for (; end < ptx.size() && std::isdigit(static_cast<unsigned char>(ptx[end])); end++)
    architecture = architecture * 10 + (ptx[end] - '0');
  suffix = end < ptx.size() && std::isalpha(static_cast<unsigned char>(ptx[end])) ? ptx[end] : '\0';
  return true;
}

// A higher number is a better fit; 0 does not run.
int fitness(const std::string& ptx, int computeCapability) {
  int architecture = 0;
  char suffix = '\0';
  if (!parseTarget(ptx, architecture, suffix)) return 0;
  if (suffix ? architecture != computeCapability : architecture > computeCapability) return 0;
  return architecture * 2 + (suffix != '\0');
}

// The register count of each kernel stands in .nv.info, as attributes of symbols: a byte for the attribute's form, one
// for what it is, two for its size, then symbol and count.
void readRegisters(const std::string& cubin, std::map<std::string, uint32_t>& registers) {
  constexpr uint8_t sized = 4, registerCount = 0x2f;
  if (cubin.size() < sizeof(Elf64_Ehdr) || std::memcmp(cubin.data(), ELFMAG, SELFMAG) != 0) return;
  const auto read = [&]<class Type>(Type& into, size_t at) {
    if (at + sizeof into <= cubin.size()) std::memcpy(&into, cubin.data() + at, sizeof into);
  };
  const auto text = [&](size_t at) { return at < cubin.size() ? std::string(cubin.c_str() + at) : std::string(); };
  Elf64_Ehdr header{};
  read(header, 0);
  const auto section = [&](size_t index) {
    Elf64_Shdr result{};
    read(result, header.e_shoff + index * sizeof result);
    return result;
  };
  const Elf64_Shdr names = section(header.e_shstrndx);
  for (size_t i = 0; i < header.e_shnum; i++) {
    const Elf64_Shdr info = section(i);
    if (text(names.sh_offset + info.sh_name) != ".nv.info") continue;
    const Elf64_Shdr symbols = section(info.sh_link), strings = section(symbols.sh_link);
    for (size_t at = info.sh_offset; at + 4 <= std::min<size_t>(info.sh_offset + info.sh_size, cubin.size());) {
      uint8_t form = 0, what = 0;
      uint16_t size = 0;
      uint32_t symbolIndex = 0, count = 0;
      read(form, at), read(what, at + 1), read(size, at + 2), read(symbolIndex, at + 4), read(count, at + 8);
      at += form == sized ? 4 + size : 4;
      if (form != sized || what != registerCount) continue;
      Elf64_Sym symbol{};
      read(symbol, symbols.sh_offset + symbolIndex * sizeof symbol);
      registers[text(strings.sh_offset + symbol.st_name)] = count;
    }
  }
}

}  // namespace

Image readImage(const void* data, int computeCapability) {
  Image image;
  const auto fail = [&](Image::Error error, std::string message) {
    image.error = error;
    image.message = std::move(message);
    return image;
  };
  uint32_t magic = 0;
  std::memcpy(&magic, data, sizeof magic);
  if (magic == kWrapperMagic) {
    Wrapper wrapper;
    std::memcpy(&wrapper, data, sizeof wrapper);
    data = wrapper.data;
    std::memcpy(&magic, data, sizeof magic);
  }
  if (std::memcmp(data, ELFMAG, SELFMAG) == 0)
    return fail(Image::Error::kNoPtx, "the image is a cubin; the simulator runs PTX");
  if (magic != kFatbinMagic) {
    image.ptx = static_cast<const char*>(data);
    int architecture = 0;
    char suffix = '\0';
    if (!parseTarget(image.ptx, architecture, suffix))
      return fail(Image::Error::kMalformed, "the image is neither a fatbin nor PTX text");
    if (!fitness(image.ptx, computeCapability))
      return fail(Image::Error::kNoPtx,
                  "the PTX is for sm_" + std::to_string(architecture) + (suffix ? std::string(1, suffix) : ""));
    return image;
  }

  Header header;
  std::memcpy(&header, data, sizeof header);
  const auto* at = static_cast<const uint8_t*>(data) + header.headerBytes;
  const uint8_t* end = at + header.bytes;
  int best = 0;
  std::string seen, problem;
  while (at + sizeof(Entry) <= end) {
    Entry entry;
    std::memcpy(&entry, at, sizeof entry);
    if (entry.headerBytes < sizeof entry || entry.bytes > static_cast<uint64_t>(end - at))
      return fail(Image::Error::kMalformed, "the fatbin is damaged");
    seen += (seen.empty() ? "" : ", ") + std::string(entry.kind == kKindPtx ? "PTX " : "cubin ") +
            std::to_string(entry.architecture);
    std::string payload;
    if (entry.kind == kKindPtx) {
      if (!payloadOf(entry, at, payload, problem)) return fail(Image::Error::kNoZstd, problem);
      payload.resize(std::strlen(payload.c_str()));
      const int fit = fitness(payload, computeCapability);
      if (fit > best) {
        best = fit;
        image.ptx = std::move(payload);
      }
    } else if (entry.kind == kKindElf && payloadOf(entry, at, payload, problem)) {
      readRegisters(payload, image.registers);
    }
    at += entry.headerBytes + entry.bytes;
  }
  if (!best) return fail(Image::Error::kNoPtx, "no PTX in the fatbin runs on this device (it holds " + seen + ")");
  return image;
}

}  // namespace fovea::simulator
