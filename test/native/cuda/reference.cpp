// The float64 reference, row by row, and the comparison with it.
#include <algorithm>

#include "cases.h"

namespace fovea::test {
namespace {

struct Row {
  std::vector<double> scaled, capped, biased, weights, output;
  double lse = -INFINITY, largest = 0;
};

double at(DType type, const View<const void>& view, int64_t head, int64_t row, int64_t column) {
  return load(type, view.data, head * view.headStride + row * view.rowStride + column * view.columnStride);
}

/// Element of key or value `key`, through the page table if there is one, times its scale if it has one.
double keyAt(const Problem& problem, const Sequence& sequence, bool isKey, int64_t head, int64_t key, int64_t column) {
  const View<const void>& view = isKey ? sequence.key : sequence.value;
  if (problem.pageSize == 0) return at(problem.dtype, view, head, key, column);
  const int64_t page = sequence.pageTable[key / problem.pageSize], inPage = key % problem.pageSize;
  const int64_t pageStride = isKey ? sequence.keyPageStride : sequence.valuePageStride;
  const double stored =
      load(problem.kvDtype(), view.data, page * pageStride + head * view.headStride + inPage * view.rowStride + column);
  const float* scales = isKey ? problem.keyScales : problem.valueScales;
  return scales ? stored * double(scales[(page * problem.kvHeads + head) * problem.pageSize + inPage]) : stored;
}

/// A kv head's keys and values in float64, decoded once for all rows: keys [dim][key], so that the scores of
/// neighbouring keys add up side by side, values [key][dim].
struct Decoded {
  std::vector<double> keys, values;
};

Decoded decode(const Problem& problem, const Sequence& sequence, int64_t kvHead) {
  const int64_t keys = sequence.keyLength;
  Decoded decoded{std::vector<double>(size_t(problem.headDim * keys)),
                  std::vector<double>(size_t(keys * problem.valueDim))};
  for (int64_t key = 0; key < keys; key++) {
    for (int64_t d = 0; d < problem.headDim; d++)
      decoded.keys[size_t(d * keys + key)] = keyAt(problem, sequence, true, kvHead, key, d);
    for (int64_t d = 0; d < problem.valueDim; d++)
      decoded.values[size_t(key * problem.valueDim + d)] = keyAt(problem, sequence, false, kvHead, key, d);
  }
  return decoded;
}

/// One query row; with `rounded`, keys (which scales may have made finer), scores and probabilities are rounded to the
/// dtype on the way.
Row referenceRow(const Problem& problem, const Sequence& sequence, const Decoded& decoded, int64_t head, int64_t query,
                 bool rounded) {
  const int64_t keys = sequence.keyLength;
  const double place = double(query + sequence.queryOffset);
  const auto round = [&](double value) { return rounded ? roundTo(problem.dtype, value) : value; };
  const bool finer = rounded && problem.keyScales;
  Row row;
  row.output.assign(size_t(problem.valueDim), 0);
  row.weights.assign(size_t(keys), 0);
  if (query >= sequence.queryLength) return row;
  row.scaled.assign(size_t(keys), 0);
  for (int64_t d = 0; d < problem.headDim; d++) {
    const double factor = at(problem.dtype, sequence.query, head, query, d), *of = &decoded.keys[size_t(d * keys)];
    for (int64_t key = 0; key < keys; key++) row.scaled[size_t(key)] += factor * (finer ? round(of[key]) : of[key]);
  }
  for (int64_t key = 0; key < keys; key++) {
    double score = row.scaled[size_t(key)] *= problem.scale;
    if (problem.softcap > 0) score = problem.softcap * std::tanh(score / problem.softcap);
    row.capped.push_back(score);
    bool allowed = !problem.causal || double(key) <= place;
    if (problem.windowLeft >= 0) allowed = allowed && double(key) >= place - double(problem.windowLeft);
    if (problem.windowRight >= 0) allowed = allowed && double(key) <= place + double(problem.windowRight);
    if (sequence.bias) {
      const double bias = at(problem.biasDtype, sequence.bias, head, query, key);
      score += bias;
      allowed = allowed && bias != -INFINITY;
    }
    if (sequence.alibiSlopes) score -= double(sequence.alibiSlopes[head]) * std::abs(place - double(key));
    if (sequence.mask)
      allowed = allowed && sequence.mask.data[head * sequence.mask.headStride + query * sequence.mask.rowStride +
                                              key * sequence.mask.columnStride] != 0;
    row.biased.push_back(allowed ? round(score) : -INFINITY);
    if (allowed && std::isfinite(score)) row.largest = std::max(row.largest, std::abs(score));
  }
  double maximum = sequence.sinks ? double(sequence.sinks[head]) : -INFINITY, sum = 0;
  for (const double score : row.biased) maximum = std::max(maximum, score);
  if (maximum == -INFINITY) return row;
  if (sequence.sinks) sum = std::exp(double(sequence.sinks[head]) - maximum);
  for (const double score : row.biased) sum += std::exp(score - maximum);
  row.lse = maximum + std::log(sum);
  for (size_t key = 0; key < row.biased.size(); key++) {
    const double weight = row.weights[key] = round(std::exp(row.biased[key] - maximum) / sum);
    if (row.biased[key] == -INFINITY) continue;
    const double* values = &decoded.values[key * size_t(problem.valueDim)];
    for (int64_t d = 0; d < problem.valueDim; d++) row.output[size_t(d)] += weight * values[d];
  }
  return row;
}

class Comparison {
 public:
  explicit Comparison(const Problem& problem) : problem_(problem) {}

  std::string run() {
    for (int64_t i = 0; i < problem_.sequenceCount && fault_.empty(); i++)
      for (int64_t kvHead = 0; kvHead < problem_.kvHeads; kvHead++) compareGroup(problem_.sequences[i], kvHead);
    return fault_.empty() ? compareErrors() : fault_;
  }

 private:
  void compareGroup(const Sequence& sequence, int64_t kvHead) {
    const Decoded decoded = decode(problem_, sequence, kvHead);
    const int64_t group = problem_.groupSize();
    for (int64_t head = kvHead * group; head < (kvHead + 1) * group; head++)
      for (int64_t query = 0; query < sequence.queryRows; query++) compareRow(sequence, decoded, head, query);
  }

  void compareRow(const Sequence& sequence, const Decoded& decoded, int64_t head, int64_t query) {
    const auto rowOf = [&](bool rounded) { return referenceRow(problem_, sequence, decoded, head, query, rounded); };
    const Row exact = rowOf(false), rounded = problem_.dtype == DType::float32 ? exact : rowOf(true);
    largest_ = std::max(largest_, exact.largest);
    const bool exists = query < sequence.queryLength;
    for (int64_t d = 0; d < problem_.valueDim; d++) {
      const View<void>& view = sequence.output;
      const double got =
          load(problem_.dtype, view.data, head * view.headStride + query * view.rowStride + d * view.columnStride);
      const double want = exact.output[size_t(d)];
      const double emulated = roundTo(problem_.dtype, rounded.output[size_t(d)]);
      if (std::isinf(want) && got == want) continue;
      if (std::isnan(want) && std::isnan(got)) continue;
      if (!std::isfinite(got)) fail("output", head, query, d, got, want);
      error_ += (got - want) * (got - want);
      emulatedError_ += (emulated - want) * (emulated - want);
      norm_ += want * want;
      count_++;
    }
    if (sequence.lse) {
      const double got = sequence.lse.data[head * sequence.lse.headStride + query * sequence.lse.rowStride];
      if (!isClose(got, exact.lse)) fail("lse", head, query, 0, got, exact.lse);
    }
    for (int64_t key = 0; key < sequence.keyColumns; key++) {
      const bool inside = exists && key < sequence.keyLength;
      if (sequence.weights) {
        const double want = inside ? exact.weights[size_t(key)] : 0, got = element(sequence.weights, head, query, key);
        const bool close = want == 0 ? got == 0 : std::abs(got - want) <= 1e-5 + 1e-4 * want;
        if (!close) fail("weights", head, query, key, got, want);
      }
      if (sequence.scores) {
        const ScoreStage stage = problem_.scoreStage;
        const auto& row = stage == ScoreStage::scaled   ? exact.scaled
                          : stage == ScoreStage::capped ? exact.capped
                                                        : exact.biased;
        const double want = inside ? row[size_t(key)] : stage == ScoreStage::biased ? -INFINITY : 0;
        const double got = element(sequence.scores, head, query, key);
        if (!isClose(got, want)) fail("scores", head, query, key, got, want);
      }
    }
  }

  /// Over the whole output: relative L2 error for float32, RMSE against the emulation's otherwise.
  std::string compareErrors() const {
    if (count_ == 0) return {};
    if (problem_.dtype == DType::float32) {
      const double relative = std::sqrt(error_ / std::max(norm_, 1e-30)), limit = 1e-5 * std::max(1.0, largest_ / 8);
      return relative <= limit ? "" : "relative error " + std::to_string(relative) + " over " + std::to_string(limit);
    }
    const double rmse = std::sqrt(error_ / double(count_)), limit = 2 * std::sqrt(emulatedError_ / double(count_));
    return rmse <= limit ? "" : "RMSE " + std::to_string(rmse) + " over " + std::to_string(limit);
  }

  /// To 1e-5, absolutely or relatively, or of what large scores come to that a bias cancels; infinities are close to
  /// themselves alone.
  bool isClose(double got, double want) const {
    return got == want ||
           (std::isfinite(want) && std::abs(got - want) <= 1e-5 * std::max({1.0, std::abs(want), largest_ / 8}));
  }
  static double element(const View<float>& view, int64_t head, int64_t row, int64_t column) {
    return view.data[head * view.headStride + row * view.rowStride + column * view.columnStride];
  }

  void fail(const char* what, int64_t head, int64_t row, int64_t column, double got, double want) {
    if (fault_.empty())
      fault_ = std::string(what) + "[" + std::to_string(head) + ", " + std::to_string(row) + ", " +
               std::to_string(column) + "]: got " + std::to_string(got) + ", expected " + std::to_string(want);
  }

  const Problem& problem_;
  std::string fault_;
  double error_ = 0, emulatedError_ = 0, norm_ = 0, largest_ = 0;
  int64_t count_ = 0;
};

}  // namespace

std::string compare(const Problem& problem) { return Comparison(problem).run(); }

}  // namespace fovea::test
