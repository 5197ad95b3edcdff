#include "host_tensors.h"

#include <algorithm>
#include <cstring>

namespace fovea::cuda {
namespace {

constexpr int64_t alignment = 256;

}  // namespace

DeviceProblem::DeviceProblem(const Problem& problem, Residence residence)
    : problem_(problem),
      residence_(residence),
      sequences_(problem.sequences, problem.sequences + problem.sequenceCount) {
  const int64_t element = byteSize(problem.dtype);
  for (const Sequence& sequence : sequences_) {
    if (residence.tensors) {
      addRows(sequence.query, problem.heads, sequence.queryLength, problem.headDim, element);
      addKeys(sequence, sequence.key, sequence.keyPageStride, problem.headDim);
      addKeys(sequence, sequence.value, sequence.valuePageStride, problem.valueDim);
      addRows(sequence.mask, problem.heads, sequence.queryLength, sequence.keyLength, 1);
      addRows(sequence.bias, problem.heads, sequence.queryLength, sequence.keyLength, byteSize(problem.biasDtype));
    }
    if (residence.parameters) {
      addSpan(sequence.alibiSlopes, {{1, problem.heads}}, sizeof(float));
      addSpan(sequence.sinks, {{1, problem.heads}}, sizeof(float));
      if (problem.pageSize > 0)
        addSpan(sequence.pageTable, {{1, ceilDivide(sequence.keyLength, problem.pageSize)}}, sizeof(int32_t));
    }
  }
  mergeSpans();
}

void DeviceProblem::addSpan(const void* data, std::initializer_list<Dimension> dimensions, int64_t elementBytes) {
  int64_t low = 0, high = 0;
  for (const auto& [stride, count] : dimensions) {
    if (count == 0) return;
    (stride < 0 ? low : high) += stride * (count - 1);
  }
  const auto* first = static_cast<const std::byte*>(data);
  if (first) spans_.push_back({first + low * elementBytes, first + (high + 1) * elementBytes, 0});
}

template <class Element>
void DeviceProblem::addRows(const View<Element>& view, int64_t heads, int64_t rows, int64_t columns,
                            int64_t elementBytes) {
  addSpan(view.data, {{view.headStride, heads}, {view.rowStride, rows}, {view.columnStride, columns}}, elementBytes);
}

void DeviceProblem::addKeys(const Sequence& sequence, const View<const void>& view, int64_t pageStride,
                            int64_t columns) {
  const int64_t element = byteSize(problem_.dtype);
  if (problem_.pageSize == 0) return addRows(view, problem_.kvHeads, sequence.keyLength, columns, element);
  // From the first to the last page that is used: what lies between belongs to the same tensor.
  const auto [first, last] = usedPages(sequence);
  addSpan(static_cast<const std::byte*>(view.data) + first * pageStride * element,
          {{pageStride, last + 1 - first},
           {view.headStride, problem_.kvHeads},
           {view.rowStride, problem_.pageSize},
           {view.columnStride, columns}},
          element);
}

/// The lowest and the highest page of a sequence, {0, -1} if it has none. Its page table is still the host's.
std::pair<int64_t, int64_t> DeviceProblem::usedPages(const Sequence& sequence) const {
  const int64_t count = ceilDivide(sequence.keyLength, problem_.pageSize);
  if (count == 0) return {0, -1};
  const auto [low, high] = std::minmax_element(sequence.pageTable, sequence.pageTable + count);
  return {*low, *high};
}

void DeviceProblem::mergeSpans() {
  std::sort(spans_.begin(), spans_.end(), [](const Span& a, const Span& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (const Span& span : spans_) {
    if (kept > 0 && span.begin <= spans_[kept - 1].end)
      spans_[kept - 1].end = std::max(spans_[kept - 1].end, span.end);
    else
      spans_[kept++] = span;
  }
  spans_.resize(kept);
  int64_t offset = 0;
  for (Span& span : spans_) {
    span.offset = offset;
    offset += roundUp(span.end - span.begin, alignment);
  }
  outputsBegin_ = offset;
}

void DeviceProblem::upload(Stream& stream) {
  if (!residence_.tensors && spans_.empty()) return;
  if (residence_.tensors) {
    const int64_t heads = problem_.heads, element = byteSize(problem_.dtype);
    for (Sequence& sequence : sequences_) {
      const int64_t rows = sequence.queryRows, columns = sequence.keyColumns;
      placeOutput(sequence.output, {heads, rows, problem_.valueDim, element});
      placeOutput(sequence.lse, {heads, rows, 1, sizeof(float)});
      placeOutput(sequence.weights, {heads, rows, columns, sizeof(float)});
      placeOutput(sequence.scores, {heads, rows, columns, sizeof(float)});
    }
  }
  buffer_ = DeviceBuffer::allocate(stream.compute(), outputsBegin_ + outputsBytes_);
  const CUdeviceptr base = buffer_->pointer();
  for (const Span& span : spans_)
    stream.toDevice().toDevice(
        base + CUdeviceptr(span.offset), size_t(span.end - span.begin),
        [&](std::byte* chunk, size_t offset, size_t bytes) { std::memcpy(chunk, span.begin + offset, bytes); });
  auto output = outputs_.begin();
  const auto place = [&](auto& view) {
    if (view) view.data = reinterpret_cast<decltype(view.data)>(base + CUdeviceptr(outputsBegin_ + output++->offset));
  };
  for (Sequence& sequence : sequences_) {
    translateInputs(sequence);
    if (!residence_.tensors) continue;
    place(sequence.output);
    place(sequence.lse);
    place(sequence.weights);
    place(sequence.scores);
  }
  problem_.sequences = sequences_.data();
}

template <class Element>
void DeviceProblem::placeOutput(View<Element>& view, const Extent& extent) {
  if (!view) return;
  const int64_t size = extent.elementBytes;
  outputs_.push_back({reinterpret_cast<std::byte*>(view.data), view.headStride * size, view.rowStride * size,
                      view.columnStride * size, extent, outputsBytes_});
  outputsBytes_ += roundUp(extent.bytes(), alignment);
  view.headStride = extent.rows * extent.columns;
  view.rowStride = extent.columns;
  view.columnStride = 1;
}

void DeviceProblem::translateInputs(Sequence& sequence) {
  if (residence_.tensors) {
    // Page 0 may lie outside what was copied, so paged tensors move by the first page that is used.
    const int64_t page = problem_.pageSize > 0 ? usedPages(sequence).first : 0, element = byteSize(problem_.dtype);
    translate(sequence.query.data, 0);
    translate(sequence.key.data, page * sequence.keyPageStride * element);
    translate(sequence.value.data, page * sequence.valuePageStride * element);
    translate(sequence.mask.data, 0);
    translate(sequence.bias.data, 0);
  }
  if (residence_.parameters) {
    translate(sequence.pageTable, 0);
    translate(sequence.alibiSlopes, 0);
    translate(sequence.sinks, 0);
  }
}

/// Host pointer to device pointer, by where `bytes` after it went. What is in no span is empty and stays as it is.
template <class Pointer>
void DeviceProblem::translate(Pointer*& pointer, int64_t bytes) const {
  const std::byte* host = reinterpret_cast<const std::byte*>(pointer) + bytes;
  auto span = std::upper_bound(spans_.begin(), spans_.end(), host,
                               [](const std::byte* at, const Span& entry) { return at < entry.begin; });
  if (!pointer || span == spans_.begin() || host >= (--span)->end) return;
  pointer = reinterpret_cast<Pointer*>(buffer_->pointer() + CUdeviceptr(span->offset + (host - span->begin) - bytes));
}

void DeviceProblem::download(Stream& stream) {
  if (outputsBytes_ > 0)
    stream.toHost().toHost(
        buffer_->pointer() + CUdeviceptr(outputsBegin_), size_t(outputsBytes_),
        [&](std::byte* chunk, size_t offset, size_t bytes) { scatter(chunk, int64_t(offset), int64_t(bytes)); });
}

/// Spreads packed bytes [offset, offset + bytes) of the outputs to their places. Both ends fall between elements.
void DeviceProblem::scatter(const std::byte* from, int64_t offset, int64_t bytes) const {
  auto output = std::upper_bound(outputs_.begin(), outputs_.end(), offset,
                                 [](int64_t at, const Output& entry) { return at < entry.offset; });
  for (--output; output != outputs_.end() && output->offset < offset + bytes; ++output) {
    const Extent& extent = output->extent;
    const int64_t element = extent.elementBytes, rowBytes = extent.columns * element;
    int64_t at = std::max(offset - output->offset, int64_t{0});
    const int64_t end = std::min(extent.bytes(), offset + bytes - output->offset);
    while (at < end) {  // a row, or what the chunk holds of it, at a time
      const int64_t row = at / rowBytes, inRow = at % rowBytes, part = std::min(rowBytes - inRow, end - at);
      std::byte* to = output->data + row / extent.rows * output->headStride + row % extent.rows * output->rowStride;
      const std::byte* source = from + (output->offset + at - offset);
      if (output->columnStride == element) {
        std::memcpy(to + inRow, source, size_t(part));
      } else {
        for (int64_t done = 0; done < part; done += element)
          std::memcpy(to + (inRow + done) / element * output->columnStride, source + done, size_t(element));
      }
      at += part;
    }
  }
}

}  // namespace fovea::cuda
