// Tables arrive on the device as they are on the host, whatever of their entries differs, in as few launches as hold
// them.
#include "../../../native/cuda/tables.h"

#include <algorithm>
#include <random>

#include "../../../native/cuda/backend.h"
#include "counters.h"
#include "device_case.h"

namespace fovea::test {
namespace {

/// As long as the largest entry there is.
struct LongEntry {
  uint32_t words[224];
};
struct ShortEntry {
  uint32_t words[3];
};

/// Each word is the same in all entries, grows by always the same (pointers, which may wrap around), or is anything. A
/// step that is not the same once, somewhere, makes it anything, too.
template <class Entry>
std::vector<Entry> randomTable(std::mt19937& random, int64_t count, int percentOfAny) {
  std::vector<Entry> table(static_cast<size_t>(count));
  for (size_t word = 0; word < std::size(Entry{}.words); word++) {
    const uint32_t first = uint32_t(random()), step = random() % 2 == 0 ? 0 : uint32_t(random());
    const bool isAny = int(random() % 100) < percentOfAny;
    for (size_t i = 0; i < table.size(); i++)
      table[i].words[word] = isAny ? uint32_t(random()) : first + step * uint32_t(i);
    if (random() % 8 == 0) table[random() % table.size()].words[word]++;
  }
  return table;
}

/// A table and where it goes.
template <class Entry>
struct Place {
  std::vector<Entry> table;
  std::shared_ptr<cuda::DeviceBuffer> buffer;

  Place(cuda::Stream& stream, std::vector<Entry> entries)
      : table(std::move(entries)), buffer(cuda::allocate(stream, int64_t(table.size() * sizeof(Entry)))) {}
  void check(cuda::Stream& stream, const std::string& name) const {
    std::vector<Entry> found(table.size());
    finish([&](cuda::Settled settled) {
      cuda::read(stream, cuda::address(*buffer), found.data(), int64_t(found.size() * sizeof(Entry)),
                 std::move(settled));
    });
    for (size_t i = 0; i < table.size(); i++)
      test::check(std::equal(std::begin(table[i].words), std::end(table[i].words), found[i].words),
                  name + ": entry " + std::to_string(i) + " of " + std::to_string(table.size()));
  }
};

void write(cuda::Stream& stream, const cuda::Tables& tables) {
  stream.submitNow([&] {
    cuda::loadTables(stream.device());
    tables.write(stream.device(), stream.compute()->get());
  });
}

/// Several tables at once, of which some go on in the next piece.
void anyTables(int percentOfAny) {
  cuda::Stream& stream = testStream();
  std::mt19937 random(static_cast<uint32_t>(7 + percentOfAny));
  std::vector<Place<LongEntry>> longs;
  std::vector<Place<ShortEntry>> shorts;
  cuda::Tables tables;
  for (const int64_t count : {1, 2, 3, 50, 7, 400, 1}) {
    longs.emplace_back(stream, randomTable<LongEntry>(random, count, percentOfAny));
    shorts.emplace_back(stream, randomTable<ShortEntry>(random, 5 * count, percentOfAny));
    tables.add(longs.back().table, cuda::address(*longs.back().buffer));
    tables.add(shorts.back().table, cuda::address(*shorts.back().buffer));
  }
  tables.add(shorts[0].table.data(), 0, cuda::address(*shorts[0].buffer));
  check(tables.launches() > 1, "one piece holds all");
  write(stream, tables);
  for (const auto& place : longs) place.check(stream, "long");
  for (const auto& place : shorts) place.check(stream, "short");
}

/// Decode of many sequences, whose lengths have nothing in common: the simulator counts launches.
void fewLaunches(bool paged, int sequences, int most) {
  Case about;
  about.algorithm = Algorithm::tiled, about.dtype = DType::float16, about.causal = true;
  about.heads = 2, about.kvHeads = 1, about.headDim = about.valueDim = 16;
  if (paged) about.pageSize = 16;
  std::mt19937 random(5);
  for (int i = 0; i < sequences; i++)
    about.queryLengths.push_back(1), about.keyLengths.push_back(int(1 + random() % 60));
  const Counters counters;
  Tensors tensors(about);
  counters.clear();
  const cuda::Result result =
      cuda::run(testStream(), tensors.problem(), cuda::plan(testDevice(), tensors.problem()), cuda::allOnHost);
  check(result.outcome == cuda::Outcome::done, result.message);
  const auto launches = counters.launches();
  const auto tables = std::count_if(launches.begin(), launches.end(), [](const CountedLaunch& launch) {
    return launch.kernel().find("write_table") != std::string::npos;
  });
  check(tables >= 1 && tables <= most, std::to_string(tables) + " launches write the tables of " +
                                           std::to_string(sequences) + " sequences, expected " + std::to_string(most));
  const std::string wrong = compare(tensors.problem());
  check(wrong.empty(), wrong);
}

}  // namespace

void addTableTests(std::vector<Test>& tests) {
  for (const int percent : {0, 10, 100})
    tests.push_back({"tables: " + std::to_string(percent) + " % of anything", [=] { anyTables(percent); }});
  if (!isSimulator()) return;
  for (const bool paged : {false, true})
    tests.push_back({std::string("tables: few launches") + (paged ? " of pages" : ""), [=] {
                       fewLaunches(paged, 256, 1);
                       fewLaunches(paged, 1000, 4);
                     }});
}

}  // namespace fovea::test
