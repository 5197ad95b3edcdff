// Pages of a cache: rows that are stored in them, bit by bit, attention over int8 ones, and over shared segments.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../../../native/attention/row_store.h"
#include "../../../native/attention/tiles_cuda.h"
#include "counters.h"
#include "device_case.h"

namespace fovea::test {
namespace {

/// Rows to store: some tokens of 3 heads, in pages of 4 rows, in every other column of a longer row.
struct Rows {
  static constexpr int heads = 3, pageSize = 4, columnStride = 2;
  DType from, to;
  int dims, rotated;
  bool interleaved;
  int tokens, pages;
  std::vector<int32_t> slots{13, 2, 3, 4, 8}, positions{0, 7, 100'000, -3, 1};
  std::vector<double> frequencies;
  std::vector<std::byte> source, target;
  std::vector<float> scales;

  Rows(DType from, DType to, int dims, int rotated, bool interleaved, int tokens = 5)
      : from(from),
        to(to),
        dims(dims),
        rotated(rotated),
        interleaved(interleaved),
        tokens(tokens),
        pages(tokens / 2 + 2) {
    Random random{uint64_t(dims)};
    for (int token = 5; token < tokens; token++) slots.push_back(13 + tokens - token), positions.push_back(3 * token);
    source.resize(size_t(tokens * heads * dims * columnStride * byteSize(from)));
    target.assign(size_t(pages * heads * pageSize * dims * byteSize(to)), std::byte{0x55});
    scales.assign(size_t(pages * heads * pageSize), -1);
    for (int i = 0; i < tokens * heads * dims * columnStride; i++) store(from, source.data(), i, random.normal());
    for (int i = 0; i < rotated / 2; i++) frequencies.push_back(std::pow(10'000, -2.0 * i / rotated));
    if (to != DType::int8) return;
    const auto set = [&](int row, int d, double value) {
      store(from, source.data(), (int64_t(row) * dims + d) * columnStride, value);
    };
    for (int d = 0; d < dims; d++) set(3, d, 0), set(4, d, d == 0 ? 127 : d % 256 - 127.5), set(5, d, 1e-40);
    set(6, dims - 1, NAN), set(7, 0, -INFINITY), set(8, 0, from == DType::float16 ? 60'000 : 3e38);
  }

  /// Row `row` = token * heads + head as float32, rotated.
  std::vector<float> row(int row) const {
    std::vector<float> own, result;
    for (int d = 0; d < dims; d++)
      own.push_back(float(load(from, source.data(), (int64_t(row) * dims + d) * columnStride)));
    result = own;
    for (int i = 0; i < rotated / 2; i++) {
      const double angle = positions[size_t(row / heads)] * frequencies[size_t(i)];
      const auto a = size_t(interleaved ? 2 * i : i), b = size_t(interleaved ? 2 * i + 1 : i + rotated / 2);
      const volatile float cosine = float(std::cos(angle)), sine = float(std::sin(angle));
      // volatile: two products and a sum, whatever the compiler would fuse
      const volatile float ac = own[a] * cosine, bs = own[b] * sine, bc = own[b] * cosine, as = own[a] * sine;
      result[a] = ac - bs, result[b] = bc + as;
    }
    return result;
  }

  /// What the pages should hold afterwards.
  void storeOnHost() {
    for (int row = 0; row < tokens * heads; row++) {
      const std::vector<float> values = this->row(row);
      const int slot = slots[size_t(row / heads)];
      const int64_t at = (int64_t(slot / pageSize) * heads + row % heads) * pageSize + slot % pageSize;
      float largest = 0;
      bool finite = true;
      for (const float value : values)
        finite = finite && std::isfinite(value), largest = std::max(largest, std::abs(value));
      const float scale = largest / 127;
      const bool empty = !finite || scale < 0x1p-126f;
      for (int d = 0; d < dims; d++) {
        if (to != DType::int8) {
          store(to, target.data(), at * dims + d, values[size_t(d)]);
          continue;
        }
        const volatile float quotient = empty ? 0 : values[size_t(d)] * (1 / scale);
        store(to, target.data(), at * dims + d, std::clamp(roundTo(DType::int8, quotient), -127., 127.));
      }
      if (to == DType::int8) scales[size_t(at)] = !finite ? NAN : empty ? 0 : scale;
    }
  }
};

/// Rows whose source and target are on the device.
struct DeviceRows {
  explicit DeviceRows(const Rows& given) : rows(given) {
    for (int i = 0; i < 3; i++) {
      buffers.push_back(cuda::allocate(testStream(), size(i)));
      cuda::writeNow(testStream(), cuda::address(*buffers.back()), memory(i), size(i));
    }
  }
  void* memory(int i) { return i == 0 ? rows.source.data() : i == 1 ? (void*)rows.target.data() : rows.scales.data(); }
  int64_t size(int i) const {
    return int64_t(i == 0 ? rows.source.size() : i == 1 ? rows.target.size() : rows.scales.size() * 4);
  }
  RowStore store() {
    const auto at = [&](int i) { return reinterpret_cast<void*>(uintptr_t(cuda::address(*buffers[size_t(i)]))); };
    RowStore store;
    store.tokens = rows.tokens, store.heads = Rows::heads, store.dims = rows.dims, store.pageSize = Rows::pageSize;
    store.fromDtype = rows.from, store.toDtype = rows.to;
    const int64_t headStride = int64_t(rows.dims) * Rows::columnStride;
    store.from = {at(0), headStride, Rows::heads * headStride, Rows::columnStride};
    store.to = at(1), store.scales = static_cast<float*>(at(2)), store.slots = rows.slots.data();
    store.rotation = {rows.rotated, rows.interleaved, rows.frequencies.data(), rows.positions.data()};
    return store;
  }
  void expectStored(const Rows& given) {
    Rows expected = given;
    expected.storeOnHost();
    for (int i = 1; i < 3; i++)
      finish([&](cuda::Settled settled) {
        return cuda::read(testStream(), cuda::address(*buffers[size_t(i)]), memory(i), size(i), std::move(settled));
      });
    check(rows.target == expected.target, "pages with other bits");
    check(std::memcmp(rows.scales.data(), expected.scales.data(), rows.scales.size() * 4) == 0, "other scales");
  }

  Rows rows;
  std::vector<std::shared_ptr<cuda::DeviceBuffer>> buffers;
};

void storing(const Rows& given, bool enqueued) {
  DeviceRows rows(given);
  if (enqueued)
    cuda::enqueue(testStream(), {rows.store()});
  else
    finish([&](cuda::Settled settled) { return cuda::start(testStream(), {rows.store()}, std::move(settled)); });
  rows.expectStored(given);
}

/// Several stores of one call, by so many launches with those that write slots and turns, which are copied where there
/// are many.
void storingTogether(const std::vector<Rows>& given, bool sameSlots, size_t launches) {
  std::vector<DeviceRows> all(given.begin(), given.end());
  std::vector<RowStore> stores;
  for (DeviceRows& rows : all) stores.push_back(rows.store());
  for (RowStore& store : stores)
    if (sameSlots) store.slots = stores[0].slots;
  if (isSimulator()) Counters().clear();
  cuda::enqueue(testStream(), stores);
  for (size_t i = 0; i < all.size(); i++) all[i].expectStored(given[i]);
  if (!isSimulator()) return;
  const size_t counted = Counters().launches().size();
  check(counted == launches, std::to_string(counted) + " launches, expected " + std::to_string(launches));
}

/// Page tables on the host of a call whose tensors are on the device: `count` of `length`, with a gap behind each, and
/// by so many launches; none where they are so many that they are copied.
void sendingPageTables(int count, int length, size_t launches) {
  const int room = length + 3;
  std::vector<int32_t> entries(size_t(count * room));
  for (size_t i = 0; i < entries.size(); i++) entries[i] = int32_t(i * 2654435761u % 1000003);
  std::vector<Sequence> sequences(static_cast<size_t>(count));
  for (int i = 0; i < count; i++)
    sequences[size_t(i)].keyLength = length * 16 - i % 16, sequences[size_t(i)].pageTable = entries.data() + i * room;
  Problem problem;
  problem.pageSize = 16;
  problem.sequences = sequences.data(), problem.sequenceCount = count;
  cuda::DeviceProblem sent(problem, {.pageTable = true});
  if (isSimulator()) Counters().clear();
  finish([&](cuda::Settled settled) {
    return testStream().post({[&] { sent.upload(testStream()); }, nullptr, std::move(settled)});
  });
  if (isSimulator()) {
    const size_t counted = Counters().launches().size();
    check(counted == launches, std::to_string(counted) + " launches, expected " + std::to_string(launches));
  }
  for (int i = 0; i < count; i++) {
    std::vector<int32_t> found(static_cast<size_t>(length));
    finish([&](cuda::Settled settled) {
      return cuda::read(testStream(), CUdeviceptr(reinterpret_cast<uintptr_t>(sent.get().sequences[i].pageTable)),
                        found.data(), length * 4, std::move(settled));
    });
    check(std::equal(found.begin(), found.end(), entries.begin() + i * room), "page table " + std::to_string(i));
  }
}

/// Attention over int8 pages, by the kernel for few rows or the one for many.
std::vector<Case> int8Cases(DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, std::vector<int> queries, std::vector<int> keys,
                       const std::function<void(Case&)>& change) {
    Case about;
    about.dtype = dtype, about.int8 = true;
    about.name = std::string(nameOf(dtype)) + " " + name;
    about.seed = std::hash<std::string>{}(about.name);
    about.queryLengths = std::move(queries), about.keyLengths = std::move(keys);
    about.pageSize = 16;
    change(about);
    cases.push_back(about);
  };
  add("decode", {1, 1}, {1030, 700}, [](Case& c) { c.heads = 4, c.kvHeads = 2; });
  add("decode, 16 rows of 128 dims", {2}, {2200},
      [](Case& c) { c.heads = 8, c.causal = true, c.headDim = c.valueDim = 128, c.pageSize = 64; });
  add("decode, dims 200, 72", {1}, {2310}, [](Case& c) { c.headDim = 200, c.valueDim = 72, c.pageSize = 5; });
  add("tiles", {150, 3}, {200, 33}, [](Case& c) { c.heads = 4, c.kvHeads = 2, c.causal = true; });
  add("tiles, dims 100, 128", {40}, {130}, [](Case& c) { c.headDim = 100, c.valueDim = 128, c.pageSize = 3; });
  add("tiles, dims 256", {70}, {75}, [](Case& c) { c.headDim = c.valueDim = 256, c.windowLeft = 40, c.sinks = true; });
  return cases;
}

void attending(const Case& about) {
  DeviceCase tensors(testStream(), about);
  const bool decode = about.name.find("decode") != std::string::npos;
  check(tensors.plan().sequences[0].kernel == (decode ? Kernel::cudaDecode : Kernel::cudaTiled), "another kernel");
  cuda::enqueue(testStream(), tensors.problem(), tensors.plan(), {});
  tensors.compare();
}

/// Sequences that share a segment: few rows each, and many.
std::vector<Case> sharedCases(DType dtype) {
  std::vector<Case> cases;
  const auto add = [&](const std::string& name, std::vector<int> queries, std::vector<int> keys,
                       const std::function<void(Case&)>& change) {
    Case about;
    about.dtype = dtype;
    about.name = std::string(nameOf(dtype)) + " " + name;
    about.seed = std::hash<std::string>{}(about.name);
    about.queryLengths = std::move(queries), about.keyLengths = std::move(keys);
    about.pageSize = 16, about.sharedKeys = 544, about.causal = true, about.rowsFirst = true;
    change(about);
    cases.push_back(about);
  };
  add("decode", {1, 2, 1, 1}, {600, 545, 1300, 560}, [](Case& c) { c.heads = 8, c.kvHeads = 2; });
  add("nothing of their own, sinks", {1, 1}, {544, 544}, [](Case& c) { c.sinks = true, c.causal = false; });
  add("few and many rows", {40, 1, 20, 2, 33}, {600, 545, 570, 560, 577},
      [](Case& c) { c.headDim = 40, c.valueDim = 35; });
  add("everything", {1, 3, 30, 40}, {600, 545, 700, 589},
      [](Case& c) { c.heads = 2, c.alibi = c.sinks = true, c.softcap = 10, c.padding = 1, c.pageSize = 32; });
  add("a window that cuts it for some", {1, 1, 20, 1}, {550, 900, 900, 600},
      [](Case& c) { c.windowLeft = 600, c.heads = 2; });
  if (dtype == DType::float32)  // some rows' are so large that they are rounded, others' are not
    add("large scores", {1, 1, 1, 1}, {600, 545, 700, 560}, [](Case& c) { c.heads = 4, c.magnitude = 3.9e6; });
  add("dims 128, int8", {1, 1, 20}, {600, 601, 580}, [](Case& c) { c.int8 = true, c.headDim = c.valueDim = 128; });
  return cases;
}

/// Together and alone: right, and the same bits.
void sharing(const Case& about) {
  Tensors tensors(about);
  const Problem& all = tensors.problem();
  const auto run = [&](int64_t from, int64_t count) {
    Problem some = all;
    some.sequences += from, some.segments += from, some.sequenceCount = count;
    const Plan plan = cuda::plan(testDevice(), some);
    const cuda::Result result = cuda::run(testStream(), some, plan, cuda::allOnHost);
    check(result.outcome == cuda::Outcome::done, "not done: " + result.message);
    return std::pair{bitsOf(some), plan};
  };
  const auto [together, plan] = run(0, all.sequenceCount);
  const std::string wrong = compare(all);
  check(wrong.empty(), wrong);
  check(plan.segments.size() < size_t(all.sequenceCount), "nothing is shared");
  for (int64_t i = 0; i < all.sequenceCount; i++) {
    tensors.clearOutputs();
    check(run(i, 1).first[0] == together[size_t(i)], "sequence " + std::to_string(i) + " has other bits alone");
  }
}

/// How kernels divide rows by a page's or a group's size: at all quotients' borders, up to the largest number.
void division() {
  constexpr int64_t most = INT32_MAX;
  std::vector<int64_t> divisors{most - 1, most};
  for (int64_t divisor = 1; divisor < most; divisor += 1 + divisor / 50) divisors.push_back(divisor);
  for (const int64_t divisor : divisors) {
    const cuda::Divisor by(divisor);
    for (int64_t quotient = 0; quotient <= most / divisor; quotient += 1 + quotient / 50)
      for (const int64_t number : {quotient * divisor - 1, quotient * divisor, quotient * divisor + 1, most}) {
        if (number < 0 || number > most) continue;
        const cuda::Divisor::Quotient found = by.divide(int(number));
        if (found.quotient != number / divisor || found.remainder != number % divisor)
          check(false, std::to_string(number) + " / " + std::to_string(divisor));
      }
  }
}

}  // namespace

void addPagesTests(std::vector<Test>& tests) {
  tests.push_back({"pages: division", division});
  const DType floats[] = {DType::float32, DType::float16, DType::bfloat16};
  const auto add = [&](DType from, DType to, int dims, int rotated, bool interleaved) {
    const std::string name = std::string("store: ") + nameOf(from) + " to " + nameOf(to) + " of " +
                             std::to_string(dims) +
                             (rotated == 0  ? ""
                              : interleaved ? ", in pairs"
                                            : ", in halves");
    tests.push_back({name, [=] { storing(Rows(from, to, dims, rotated, interleaved), interleaved); }});
  };
  for (const DType from : floats) {
    for (const DType to : floats) add(from, to, 20, 12, from == to);
    add(from, DType::int8, 20, 0, false), add(from, DType::int8, 72, 64, true);
  }
  add(DType::float32, DType::int8, 512, 512, false);
  const DType half = DType::float16, bytes = DType::int8;
  const Rows keys(half, half, 64, 32, false), values(half, half, 40, 0, false);
  const Rows manyKeys(half, bytes, 64, 64, true, 300), manyValues(half, bytes, 72, 0, false, 300);
  tests.push_back({"store: keys and values", [=] { storingTogether({keys, values}, true, 2); }});
  tests.push_back({"store: slots of their own", [=] { storingTogether({values, keys, values}, false, 3); }});
  tests.push_back({"store: int8 and not", [=] {
                     storingTogether({Rows(half, bytes, 72, 0, false), values, keys}, false, 3);
                   }});
  tests.push_back({"store: few tokens, none and more", [=] {
                     Rows none = keys;
                     none.tokens = 0;
                     storingTogether({values, none, Rows(half, half, 64, 64, true, 60)}, false, 2);
                   }});
  tests.push_back({"store: more slots and turns than parameters hold", [=] {
                     storingTogether({manyKeys, manyValues}, true, 1);
                   }});
  tests.push_back({"page tables: one", [] { sendingPageTables(1, 5, 1); }});
  tests.push_back({"page tables: many short ones", [] { sendingPageTables(600, 7, 1); }});
  tests.push_back({"page tables: as much as parameters hold", [] { sendingPageTables(100, 155, 2); }});
  tests.push_back({"page tables: more than parameters hold", [] { sendingPageTables(100, 165, 0); }});
  for (const DType dtype : floats) {
    for (const Case& about : int8Cases(dtype)) tests.push_back({"int8: " + about.name, [about] { attending(about); }});
    for (const Case& about : sharedCases(dtype))
      tests.push_back({"shared: " + about.name, [about] { sharing(about); }});
  }
}

}  // namespace fovea::test
