// Attention problems to test: a description, the host tensors made from it, and what the answer should be.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "numbers.h"

namespace fovea::test {

struct Case {
  std::string name;
  DType dtype = DType::float32;
  Algorithm algorithm = Algorithm::automatic;
  int heads = 1, kvHeads = 1, headDim = 64, valueDim = 64;
  std::vector<int> queryLengths{16}, keyLengths{16};  // one per sequence
  double scale = 0;                                   // 0: 1 / sqrt(headDim)
  double softcap = 0;
  bool causal = false;
  int64_t windowLeft = -1, windowRight = -1;
  std::optional<int64_t> queryOffset;  // default: keyLength - queryLength
  bool mask = false, alibi = false, sinks = false;
  // What the mask hides, and biases of all heads and queries: pairs by chance; those of different texts of 100 keys,
  // but for 20 keys that all see, for all heads, or of each head's own length; keys behind the query; all keys from
  // some on; a key here and there; all but the last key.
  enum class Hides { some, texts, headTexts, future, padding, single, allButLast } hides = Hides::some;
  enum class Bias { none, full, perHead, perKey, perRow } bias = Bias::none;  // perRow: two elements apart
  DType biasDtype = DType::float32;
  bool lse = true, weights = false;
  ScoreStage scoreStage = ScoreStage::none;
  int pageSize = 0;
  bool int8 = false;           // keys and values are int8, in pages
  int sharedKeys = 0;          // whole pages of keys that all sequences have in the same pages: a segment
  int padding = 0;             // rows past each length, in inputs (NaN) and outputs (0)
  bool rowsFirst = false;      // layout [rows, heads, dim] instead of [heads, rows, dim]
  int shift = 0;               // elements before the tensors: breaks the alignment of rows
  double outliers = 0;         // probability of adding N(0, 100)
  double magnitude = 1;        // of queries
  bool poisonMasked = false;   // a NaN key that the causal mask hides from every row
  bool maskAll = false;        // the mask hides every key, and every value is NaN
  bool infiniteKey = false;    // a key with a score of -inf: element 0 of queries is 1, of the middle key -inf
  bool infiniteValue = false;  // element 0 of the last value is inf
  bool faintValue = false;     // element 0 of the first value is NaN, and biases leave it, as all keys of its warp in
                               // decode, a weight that is below any float32
  uint64_t seed = 1;
};

const char* nameOf(Algorithm algorithm);

/// Whether a mask or bias of that kind leaves a pair.
bool leaves(Case::Hides hides, const Sequence& sequence, int64_t head, int64_t query, int64_t key);

/// All options in combination, sizes up to about 200 rows and keys, by seed.
Case randomCase(DType dtype, uint64_t seed);

/// A case's tensors on the host, as a Problem.
class Tensors {
 public:
  explicit Tensors(const Case& about);
  const Problem& problem() const { return problem_; }
  /// Outputs filled with NaN, so that what is not written shows.
  void clearOutputs();

 private:
  struct Shape {
    int64_t heads, rows, columns;
  };
  /// The keys of one sequence in its pages, which begin at `first` of `count` in their array.
  struct PageRows {
    int64_t begin, end;  // keys to fill
    int64_t first, count;
    const int32_t* table;
  };
  void* reserve(int64_t elements, DType type);
  View<const void> input(const Shape& shape, int64_t validRows, Random& random, double magnitude);
  template <class Element>
  View<Element> output(const Shape& shape, DType type);
  void addPages(Sequence& sequence, int64_t sequenceIndex, Random& random);
  void fillPages(const PageRows& rows, int64_t columns, Random& random, View<const void>& view, float* scales);

  Case about_;
  std::vector<std::vector<std::byte>> storage_;
  std::vector<std::pair<void*, int64_t>> outputs_;  // and their bytes
  std::vector<std::vector<int32_t>> pageTables_;
  std::vector<Sequence> sequences_;
  Segment shared_{0, 0};
  std::vector<Segments> segments_;
  Problem problem_;
};

/// Runs the reference and compares every output of the problem with it, by the numerical contract. Returns what is
/// wrong.
std::string compare(const Problem& problem);

}  // namespace fovea::test
