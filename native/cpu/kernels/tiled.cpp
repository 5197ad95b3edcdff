// Tiled attention: a block of rows against all its keys, key block by key block, with an online softmax. Scores never
// leave the L1 cache, so extra memory does not depend on the sequence length.
//
//   for each block of keys:                    brought once for all panels of the block: converted, packed, or in place
//     for each panel of rows (3 vectors):      rows are (query, head of the group): a group shares its packed keys
//       S^T tile by tile -> P^T = 2^(S - m)    base 2: log2 e is folded into Q; the accumulators start at -m
//       O^T += V^T P^T
//
// The reference m of a row (elsewhere its running maximum) moves rarely: it is the maximum of the first scores seen
// (with ALiBi, of those nearest to the row's place), and moves only when a score exceeds it by `headroom`; then the
// row's sum, P^T of this block and O^T are rescaled. P up to 2^headroom costs no precision in float32 (that m is small
// does help: the accumulators start there), only range: sums overflow for values near 2^(127 - headroom - log2
// keyLength). Each row decides for itself, so its bits do not depend on its neighbours.
//
// Floor per panel and block of 128 keys, D = 64: 2 * 128 * 64 * 3 FMAs at two a cycle = 24.6k cycles, plus 128 * 3
// exp2 of three (AVX-512) or four (AVX2) operations on the same pipes: 2 or 3 %.
#include "bring.h"
#include "modifiers.h"
#include "pack.h"
#include "panel.h"
#include "rows.h"
#include "tasks.h"

namespace fovea::cpu::FOVEA_ISA {
namespace {

/// The panel's rows: ranges of keys, empty output.
void preparePanel(const Task& task, Panel& panel) {
  const Problem& problem = *task.problem;
  const int64_t dims = roundUp(problem.valueDim, tileRows);

  ownersOf(task, panel.rowBegin, panel.rows, panel.owner);
  panel.keyBegin = INT64_MAX, panel.keyEnd = 0, panel.innerBegin = 0, panel.innerEnd = INT64_MAX;
  for (int64_t lane = 0; lane < panel.width; lane++) {
    if (lane >= panel.rows) panel.owner[lane] = panel.owner[lane - 1];
    const KeyRange visible = visibleKeys(problem, *panel.owner[lane].sequence, panel.owner[lane].query);
    panel.begin[lane] = most(visible.begin, task.keyBegin);
    panel.end[lane] = least(visible.end, task.keyEnd);
    if (panel.end[lane] > panel.begin[lane]) {
      panel.keyBegin = least(panel.keyBegin, panel.begin[lane]);
      panel.keyEnd = most(panel.keyEnd, panel.end[lane]);
    }
    panel.ends[lane / lanes] = panel.keyEnd;
    panel.innerBegin = most(panel.innerBegin, panel.begin[lane]);
    panel.innerEnd = least(panel.innerEnd, panel.end[lane]);
    panel.minusReference[lane] = panel.sum[lane] = panel.blockSum[lane] = 0;
    panel.unset[lane] = -1;
  }
  for (int64_t lane = 0; task.sequence->alibiSlopes && lane < panel.width; lane += lanes) {
    float slopes[lanes];
    for (int64_t i = 0; i < lanes; i++) {
      const RowOwner& owner = panel.owner[lane + i];
      slopes[i] = owner.sequence->alibiSlopes[owner.head];
    }
    const Slope slope = alibiSlope(load(slopes), log2e);
    store(panel.slope + lane, slope.slope), store(panel.slopeLimit + lane, slope.limit);
  }
  panel.anyUnset = panel.allUnset = true, panel.anyLarge = false;
  panel.keyBegin = roundDown(least(panel.keyBegin, panel.keyEnd), tileRows);
  panel.packed = false;
  std::memset(panel.output, 0, sizeof(float) * size_t(dims * panel.width));
}

/// What to ask for, in so many steps, while `block` of the keys `all` is computed, in the order of its use: at the
/// first block the queries of all panels but the first, whose rows end at `firstEnd`; their bias and mask; the next
/// block, with bias and mask of the first panel, or, at the last one, the rows of outputs and what the next kv head
/// begins with.
void planAhead(const Task& task, KeyRange all, KeyRange block, int64_t firstEnd, int64_t steps, bool online,
               Ahead& ahead) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const int64_t keyBlock = task.plan->keyBlock;
  ahead.count = ahead.current = 0;
  const auto addPanels = [&](int64_t rowBegin, int64_t rowEnd, int64_t begin, int64_t end) {
    addModifiers(ahead, task, sequence.bias, byteSize(problem.biasDtype), rowBegin, rowEnd, begin, end);
    addModifiers(ahead, task, sequence.mask, 1, rowBegin, rowEnd, begin, end);
  };
  int64_t kvHead = task.kvHead, begin = block.end;
  if (block.begin == all.begin && online)
    addRows(ahead, task, sequence.query, problem.headDim, kvHead, firstEnd, task.rowEnd);
  addPanels(firstEnd, task.rowEnd, block.begin, block.end);
  if (begin == all.end && online) {
    if (!task.partial.output)
      addRows(ahead, task, sequence.output, problem.valueDim, kvHead, task.rowBegin, task.rowEnd);
    if (task.kvHeads > 1)
      addRows(ahead, task, sequence.query, problem.headDim, ++kvHead, task.rowBegin, firstEnd), begin = all.begin;
  }
  const int64_t end = least(roundDown(begin, keyBlock) + keyBlock, all.end);
  addKeys(ahead, task, sequence.key, sequence.keyPageStride, problem.headDim, kvHead, 1, begin, end);
  if (online) addKeys(ahead, task, sequence.value, sequence.valuePageStride, problem.valueDim, kvHead, 1, begin, end);
  if (kvHead == task.kvHead) addPanels(task.rowBegin, firstEnd, begin, end);
  spreadAhead(ahead, steps);
}

/// Whether row `lane` of the panel is modified as the one before it is: of a mask of keys alone, or of one head's for
/// all heads of a group.
bool modifiedAlike(const Panel& panel, int64_t lane) {
  const RowOwner &before = panel.owner[lane - 1], &owner = panel.owner[lane];
  const Sequence& sequence = *owner.sequence;
  const auto sameRow = [&](const auto& view) {
    return (owner.head - before.head) * view.headStride + (owner.query - before.query) * view.rowStride == 0;
  };
  return before.sequence == &sequence && !sequence.alibiSlopes && panel.begin[lane] == panel.begin[lane - 1] &&
         panel.end[lane] == panel.end[lane - 1] && (!sequence.bias || sameRow(sequence.bias)) &&
         (!sequence.mask || sameRow(sequence.mask));
}

/// Calls use(elements, count, stride) for what rows of the panel see of keys [begin, end) in a mask or bias, once for
/// those that are modified alike, until it returns false.
template <class View, class Use>
void forSeen(const Panel& panel, View Sequence::*which, int64_t elementBytes, int64_t begin, int64_t end, Use use) {
  for (int64_t lane = 0; lane < panel.rows; lane++) {
    if (lane > 0 && modifiedAlike(panel, lane)) continue;
    const RowOwner& owner = panel.owner[lane];
    const View& view = owner.sequence->*which;
    const int64_t from = most(begin, panel.begin[lane]), count = least(end, panel.end[lane]) - from;
    const int64_t at = owner.head * view.headStride + owner.query * view.rowStride + from * view.columnStride;
    if (count > 0 && !use((const char*)view.data + at * elementBytes, count, view.columnStride)) return;
  }
}

/// Whether any of `count` elements is another than `element`.
template <class Element>
bool anyOther(const char* data, int64_t count, int64_t stride, Element element) {
  const auto* elements = (const Element*)data;
  Element differences = 0;
  if (stride == 1)
    for (int64_t i = 0; i < count; i++) differences |= elements[i] ^ element;
  else
    for (int64_t i = 0; i < count; i++) differences |= elements[i * stride] ^ element;
  return differences != 0;
}

bool anyZero(const char* data, int64_t count, int64_t stride) {
  const auto* bytes = (const uint8_t*)data;
  int any = 0;
  if (stride == 1)
    for (int64_t i = 0; i < count; i++) any |= bytes[i] == 0;
  else
    for (int64_t i = 0; i < count; i++) any |= bytes[i * stride] == 0;
  return any != 0;
}

/// What mask and bias leave of what the panel's rows see of keys.
struct Left {
  bool some;  // nothing is left if either hides all
  bool all;   // by the mask
};
Left leftOf(const Task& task, const Panel& panel, int64_t begin, int64_t end) {
  Left left{true, true};
  if (task.sequence->mask) {
    left.some = false;
    forSeen(panel, &Sequence::mask, 1, begin, end, [&](const char* bytes, int64_t count, int64_t stride) {
      left.some = left.some || anyOther<uint8_t>(bytes, count, stride, 0);
      left.all = left.all && !anyZero(bytes, count, stride);
      return left.all || !left.some;
    });
  }
  if (task.sequence->bias && left.some) {
    const DType type = task.problem->biasDtype;
    left.some = false;
    forSeen(panel, &Sequence::bias, byteSize(type), begin, end, [&](const char* data, int64_t count, int64_t stride) {
      if (type == DType::float32)
        left.some = anyOther<uint32_t>(data, count, stride, 0xff800000);  // -inf
      else
        left.some = anyOther<uint16_t>(data, count, stride, type == DType::float16 ? 0xfc00 : 0xff80);
      return !left.some;
    });
  }
  return left;
}

/// Whether what modifies scores is a bias of float32, neighbouring keys side by side: rows that see all may be read
/// where they lie.
bool isBiasAlone(const Task& task) {
  const Sequence& sequence = *task.sequence;
  return !task.owners && sequence.bias && task.problem->biasDtype == DType::float32 &&
         sequence.bias.columnStride == 1 && !sequence.mask && !sequence.alibiSlopes;
}

/// A vector of rows of packModifier's tile where a mask alone modifies scores and they all see keys [begin, end), whole
/// tiles. `any` becomes true if one is allowed.
bool packMask(const Panel& panel, int64_t lane, int64_t begin, int64_t end, float* to, bool& any) {
  const uint8_t* rows[lanes];
  for (int64_t i = 0; i < lanes; i++) {
    const RowOwner& owner = panel.owner[lane + i];
    const auto& mask = owner.sequence->mask;
    if (mask.columnStride != 1 || panel.begin[lane + i] > begin || panel.end[lane + i] < end) return false;
    rows[i] = mask.data + owner.head * mask.headStride + owner.query * mask.rowStride + begin;
    for (int64_t key = 0; !any && key < end - begin; key++) any = rows[i][key] != 0;
  }
  interleaveMask(rows, end - begin, to, panel.width);
  return true;
}

/// The panel's modifier tile for keys [begin, end) of the sequence, padded with -inf to whole tiles; false if all is
/// masked. A part may begin within the first tile, whose keys before that are another's.
bool packModifier(const Task& task, const Scratch& scratch, const Panel& panel, int64_t begin, int64_t end, float* to) {
  const int64_t count = roundUp(end - begin, tileRows), staging = task.plan->keyBlock + lanes;
  const int64_t first = most(begin, task.keyBegin);
  const bool inPlace = isBiasAlone(task) && first + count == end;
  const bool masksAlone = !task.owners && !task.sequence->bias && !task.sequence->alibiSlopes;
  bool any = false;
  for (int64_t lane = 0; lane < panel.width; lane += lanes) {
    if (task.sequence->mask && masksAlone && first + count == end && packMask(panel, lane, begin, end, to + lane, any))
      continue;
    const float* rows[lanes];
    for (int64_t i = 0; i < lanes; i++) {
      if (lane + i >= panel.rows || (i > 0 && modifiedAlike(panel, lane + i))) {
        rows[i] = rows[i - 1];
        continue;
      }
      const RowOwner& owner = panel.owner[lane + i];
      if (inPlace && panel.begin[lane + i] <= begin && panel.end[lane + i] >= end) {
        const auto& bias = owner.sequence->bias;
        rows[i] = (const float*)bias.data + owner.head * bias.headStride + owner.query * bias.rowStride + begin;
        any = any || anyVisible(rows[i], count);
        continue;
      }
      float* own = scratch.staging + i * staging;
      for (int64_t key = begin; key < first; key++) own[key - begin] = -infinity;
      any |= modifierRow(*task.problem, *owner.sequence, owner.head, owner.query, first, end, 1, own + (first - begin));
      for (int64_t key = end - begin; key < count; key++) own[key] = -infinity;
      rows[i] = own;
    }
    if (masksAlone)
      interleaveRows(rows, count, to + lane, panel.width, 1);
    else
      interleaveChanged(
          rows, count, to + lane, panel.width,
          [](Vec term) __attribute__((always_inline)) { return inUnit(term, log2e); });
  }
  return any;
}

/// Weights of keys [from, to), which lie transposed in the probabilities from `at` on.
void writeWeights(const Task& task, const Scratch& scratch, const Panel& panel, const Block& block, int64_t from,
                  int64_t to, int64_t at) {
  const auto& weights = task.sequence->weights;
  const int64_t staging = task.plan->keyBlock + lanes;
  for (int64_t lane = 0; lane < panel.rows; lane += lanes) {
    float* rows[lanes];
    for (int64_t i = 0; i < lanes; i++) rows[i] = scratch.staging + i * staging;
    separateRows(block.scores + at * panel.width + lane, to - from, panel.width, rows, broadcast(1));
    for (int64_t i = 0; i < least(lanes, panel.rows - lane); i++) {
      const RowOwner& owner = panel.owner[lane + i];
      float* out = weights.data + owner.head * weights.headStride + owner.query * weights.rowStride +
                   from * weights.columnStride;
      writeRow(rows[i], to - from, out, DType::float32, weights.columnStride);
    }
  }
}

/// Each row's range of keys and place among them, counted from the block's first key.
void placeRows(const Panel& panel, int64_t begin, int64_t keys, Block& block) {
  for (int64_t lane = 0; lane < panel.width; lane++) {
    const RowOwner& owner = panel.owner[lane];
    block.low[lane] = float(clamp(panel.begin[lane] - begin, 0, keys));
    block.high[lane] = float(clamp(panel.end[lane] - begin, 0, keys));
    block.place[lane] = float(owner.query + owner.sequence->queryOffset - begin);
  }
}

constexpr int64_t fewKeys = 32;  // whose references have no time to follow anything

/// With ALiBi a row's scores grow towards its place, and a reference taken from far keys would have to follow them
/// again and again: it is that of the four keys around the nearest one instead.
template <Words words>
void startReferences(const Task& task, const Scratch& scratch, Panel& panel, Block& block) {
  packQueries(task, scratch, panel);
  int64_t tiles[panelWidth];
  for (int64_t lane = 0; lane < panel.width; lane++) {
    const RowOwner& owner = panel.owner[lane];
    const int64_t begin = panel.begin[lane], end = panel.end[lane];
    const int64_t nearest = clamp(owner.query + owner.sequence->queryOffset, begin, end - 1);
    tiles[lane] = end > begin ? roundDown(nearest, tileRows) : -1;
  }
  const auto start = panel.width == lanes       ? startReference<1, words>
                     : panel.width == 2 * lanes ? startReference<2, words>
                                                : startReference<3, words>;
  for (int64_t lane = 0; lane < panel.rows; lane++) {
    const int64_t tile = tiles[lane];
    if (tile < 0) continue;
    int32_t wanted[panelWidth];
    for (int64_t i = 0; i < panel.width; i++) {
      wanted[i] = tiles[i] == tile ? -1 : 0;
      if (wanted[i]) tiles[i] = -1;
    }
    bringKeys(task, scratch, tile, least(tile + tileRows, task.keyEnd), block);
    placeRows(panel, tile, tileRows, block);
    start(panel, block, wanted);
  }
  panel.anyUnset = false, panel.allUnset = true;
  for (int64_t lane = 0; lane < panel.width; lane++) {
    panel.anyUnset |= panel.unset[lane] != 0;
    panel.allUnset &= panel.unset[lane] != 0;
    panel.anyLarge |= anyTrue(isLarge<Edge::alibi, words>(broadcast(panel.minusReference[lane])));
  }
}

/// All panels against all their keys. online = false: the references are final; writes the weights.
template <bool online, Words words>
void walkKeys(const Task& task, const Scratch& scratch, int64_t panelCount) {
  const Problem& problem = *task.problem;
  const Sequence& sequence = *task.sequence;
  const int64_t keyBlock = task.plan->keyBlock;
  int64_t firstKey = INT64_MAX, lastKey = 0;
  for (int64_t p = 0; p < panelCount; p++) {
    firstKey = least(firstKey, scratch.panels[p].keyBegin);
    lastKey = most(lastKey, scratch.panels[p].keyEnd);
  }

  Block block;
  block.problem = &problem;
  block.keyWords = keyWords(problem), block.unit = unitOf(problem);
  block.probabilities = scratch.probabilities, block.scores = scratch.scores;
  block.softcap = float(problem.softcap);
  block.maskAlone = sequence.mask && !task.owners && !sequence.bias && !sequence.alibiSlopes && problem.softcap == 0;
  block.alibi = sequence.alibiSlopes && !sequence.bias && !sequence.mask && problem.softcap == 0;
  Ahead ahead;
  block.ahead = &ahead;
  const bool starts = online && block.alibi && task.keyEnd - task.keyBegin > fewKeys;
  for (int64_t p = 0; starts && p < panelCount; p++) startReferences<words>(task, scratch, scratch.panels[p], block);

  for (int64_t base = roundDown(firstKey, keyBlock); base < lastKey; base += keyBlock) {
    if (isCancelled(task)) return;
    const int64_t begin = most(base, firstKey), end = least(base + keyBlock, lastKey);
    bool brought = false;
    int64_t steps = 0;  // of panels that ask
    for (int64_t p = 0; p < panelCount; p++) {
      const Panel& panel = scratch.panels[p];
      const int64_t keys = least(panel.keyEnd, end) - most(panel.keyBegin, begin);
      const int64_t together = tileRows * tilesTogether(int(panel.width / lanes), words);
      if (keys > 0) steps += keys / together + (online ? problem.valueDim / together : 0);
    }
    block.begin = begin;
    planAhead(task, {firstKey, lastKey}, {begin, end}, scratch.panels[0].rowBegin + scratch.panels[0].rows, steps,
              online, ahead);
    for (int64_t p = 0; p < panelCount; p++) {
      Panel& panel = scratch.panels[p];
      const int64_t from = most(panel.keyBegin, begin), to = least(panel.keyEnd, end);
      if (from >= to) continue;
      const Left left = leftOf(task, panel, from, to);
      if (!left.some) continue;
      packQueries(task, scratch, panel);

      const bool everyRow = from >= panel.innerBegin && to <= panel.innerEnd && to % tileRows == 0;
      block.modifier = nullptr;
      const bool modified = hasModifiers(sequence) && !block.alibi && !(block.maskAlone && left.all);
      if (modified || (problem.softcap > 0 && !everyRow)) {
        if (!packModifier(task, scratch, panel, from, to, scratch.modifier)) continue;
        block.modifier = scratch.modifier - (from - begin) * panel.width;
      } else if (!everyRow || block.alibi) {
        placeRows(panel, begin, keyBlock, block);
      }
      if (!brought) {
        bringKeys(task, scratch, begin, end, block);
        if (online) bringValues(task, scratch, begin, end, block);
        brought = true;
      }
      const int64_t innerBegin = clamp(panel.innerBegin, from, to) - begin;
      const int64_t innerEnd = clamp(panel.innerEnd, from, to) - begin;
      const auto visitPanel = panel.width == lanes       ? visit<1, online, words>
                              : panel.width == 2 * lanes ? visit<2, online, words>
                                                         : visit<3, online, words>;
      visitPanel(panel, block, from - begin, to - begin, innerBegin, innerEnd);
      if (!online) writeWeights(task, scratch, panel, block, from, to, from - begin);
    }
  }
}

template <bool online>
void walk(const Task& task, const Scratch& scratch, int64_t panelCount) {
  if constexpr (multipliesPairs)
    if (hasPairs(*task.problem)) return walkKeys<online, Words::pairs>(task, scratch, panelCount);
  walkKeys<online, Words::floats>(task, scratch, panelCount);
}

/// Normalises and writes the rows, or hands the split's sums over. Leaves each row's factor (for weights) behind.
void finishPanel(const Task& task, const Scratch& scratch, Panel& panel) {
  const Problem& problem = *task.problem;
  const View<void>& output = task.sequence->output;
  const int64_t valueDim = problem.valueDim, staging = valueDim + lanes;
  const bool inPlace = problem.dtype == DType::float32 && output.columnStride == 1;
  const auto place = [&](const RowOwner& owner) {
    return (char*)output.data +
           byteSize(problem.dtype) * (owner.head * output.headStride + owner.query * output.rowStride);
  };
  for (int64_t lane = 0; lane < panel.rows; lane += lanes) {
    const int64_t count = least(lanes, panel.rows - lane);
    float* rows[lanes];
    for (int64_t i = 0; i < lanes; i++) rows[i] = scratch.staging + i * staging, panel.factor[lane + i] = 0;
    for (int64_t i = 0; i < count; i++) {
      const float sum = panel.sum[lane + i], reference = -panel.minusReference[lane + i];
      float& factor = panel.factor[lane + i];
      if (task.partial.output) {
        const int64_t at = panel.rowBegin + lane + i - task.rowBegin;
        task.partial.sum[at] = sum, task.partial.reference[at] = reference;
        factor = 1;
        rows[i] = task.partial.output + at * valueDim;
        continue;
      }
      const RowOwner& owner = panel.owner[lane + i];
      const RowResult result = finishRow(*task.sequence, owner.head, sum, reference * ln2);
      factor = result.factor;
      storeLse(*task.sequence, owner.head, owner.query, result.lse);
      if (inPlace) rows[i] = (float*)place(owner);
    }
    separateRows(panel.output + lane, valueDim, panel.width, rows, load(panel.factor + lane));
    if (task.partial.output) continue;
    for (int64_t i = 0; i < count; i++) {
      // A row without keys is 0, even where masked values were NaN.
      if (panel.factor[lane + i] == 0) std::memset(rows[i], 0, sizeof(float) * size_t(valueDim));
      if (!inPlace) writeRow(rows[i], valueDim, place(panel.owner[lane + i]), problem.dtype, output.columnStride);
    }
  }
}

void clearWeights(const Task& task) {
  const Problem& problem = *task.problem;
  const auto& weights = task.sequence->weights;
  for (int64_t row = task.rowBegin; row < task.rowEnd; row++) {
    float* out = weights.data + headOfRow(problem, task.kvHead, row) * weights.headStride +
                 queryOfRow(problem, row) * weights.rowStride;
    for (int64_t key = 0; key < task.sequence->keyColumns; key++) out[key * weights.columnStride] = 0;
  }
}

/// The task's first kv head.
void computeHead(const Task& task, const Scratch& scratch) {
  const int64_t dims = roundUp(task.problem->valueDim, tileRows);
  int64_t count = 0;
  for (int64_t row = task.rowBegin; row < task.rowEnd; row += scratch.panels[count++].rows) {
    Panel& panel = scratch.panels[count];
    panel.rowBegin = row;
    panel.rows = rowsOfPanel(task.rowEnd - row, lanes);
    panel.width = roundUp(panel.rows, lanes);
    panel.query = scratch.query + count * panelWidth * keyWords(*task.problem);
    panel.output = scratch.output + count * panelWidth * dims;
    preparePanel(task, panel);
  }
  walk<true>(task, scratch, count);
  if (isCancelled(task)) return;
  for (int64_t p = 0; p < count; p++) finishPanel(task, scratch, scratch.panels[p]);
  if (!task.sequence->weights) return;
  clearWeights(task);
  walk<false>(task, scratch, count);
}

}  // namespace

int64_t tiledScratch(const Problem& problem, const SequencePlan& plan) {
  Scratch scratch;
  return layOut(problem, plan, nullptr, scratch);
}

/// With partial results a task has one head.
void tiled(const Task& all, float* base) {
  Scratch scratch;
  layOut(*all.problem, *all.plan, base, scratch);
  for (Task task = all; task.kvHeads > 0 && !isCancelled(task); task.kvHead++, task.kvHeads--)
    computeHead(task, scratch);
}

}  // namespace fovea::cpu::FOVEA_ISA
