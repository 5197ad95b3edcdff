#include "host_tensors.h"

#include <algorithm>
#include <cstring>

#include "tables.h"

namespace fovea::cuda {
namespace {

constexpr int64_t alignment = 256;
constexpr int64_t loadBytes = 16;  // of the kernels' widest loads

}  // namespace

DeviceProblem::DeviceProblem(const Problem& problem, Residence residence)
    : problem_(problem),
      residence_(residence),
      sequences_(problem.sequences, problem.sequences + problem.sequenceCount) {
  problem_.sequences = sequences_.data();
}

void DeviceProblem::measure() {
  const int64_t heads = problem_.heads, element = byteSize(problem_.dtype);
  for (size_t i = 0; i < sequences_.size(); i++) {
    const Sequence& sequence = sequences_[i];
    if (residence_.tensors) {
      addRows(sequence.query, heads, sequence.queryLength, problem_.headDim, element);
      addKeys(i, sequence.key, sequence.keyPageStride, problem_.headDim);
      addKeys(i, sequence.value, sequence.valuePageStride, problem_.valueDim);
      addRows(sequence.mask, heads, sequence.queryLength, sequence.keyLength, 1);
      addRows(sequence.bias, heads, sequence.queryLength, sequence.keyLength, byteSize(problem_.biasDtype));
    }
    if (residence_.alibiSlopes) addSpan(sequence.alibiSlopes, {{1, heads}}, sizeof(float));
    if (residence_.sinks) addSpan(sequence.sinks, {{1, heads}}, sizeof(float));
    if (residence_.pageTable && problem_.pageSize > 0)
      addSpan(sequence.pageTable, {{1, ceilDivide(sequence.keyLength, problem_.pageSize)}}, sizeof(int32_t));
  }
  if (const auto [first, last] = scalePages(); last >= first)
    for (const float* scales : {problem_.keyScales, problem_.valueScales})
      addSpan(scales + first * scalesPerPage(), {{1, (last + 1 - first) * scalesPerPage()}}, sizeof(float));
  mergeSpans();
}

int64_t DeviceProblem::scalesPerPage() const { return int64_t(problem_.kvHeads) * problem_.pageSize; }

/// The pages whose scales are copied: from the lowest to the highest of all sequences, as their scales are one array.
DeviceProblem::PageRange DeviceProblem::scalePages() const {
  PageRange all{0, -1};
  if (!problem_.keyScales) return all;
  for (const auto& [first, last] : pages_) {
    if (last < first) continue;
    const bool none = all.last < all.first;
    all = {none ? first : std::min(all.first, first), std::max(all.last, last)};
  }
  return all;
}

/// The lowest and the highest page of each sequence.
void DeviceProblem::findPages(Stream& stream) {
  if (!residence_.tensors || problem_.pageSize == 0) return;
  const CUstream order = stream.compute()->get();
  std::vector<int32_t> read;
  for (const Sequence& sequence : sequences_) {
    const int64_t count = ceilDivide(sequence.keyLength, problem_.pageSize);
    pages_.push_back({0, -1});
    if (count == 0) continue;
    const int32_t* table = sequence.pageTable;
    if (!residence_.pageTable) {
      read.resize(size_t(count));
      stream.device().check(driver().cuMemcpyDtoHAsync(read.data(), reinterpret_cast<CUdeviceptr>(table),
                                                       read.size() * sizeof(int32_t), order),
                            "reading a page table");
      stream.device().check(driver().cuStreamSynchronize(order), "reading a page table");
      table = read.data();
    }
    const auto [low, high] = std::minmax_element(table, table + count);
    pages_.back() = {*low, *high};
  }
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

void DeviceProblem::addKeys(size_t sequenceIndex, const View<const void>& view, int64_t pageStride, int64_t columns) {
  const int64_t element = byteSize(problem_.kvDtype());
  if (problem_.pageSize == 0)
    return addRows(view, problem_.kvHeads, sequences_[sequenceIndex].keyLength, columns, element);
  // From the first to the last page that is used: what lies between belongs to the same tensor.
  const auto [first, last] = pages_[sequenceIndex];
  addSpan(static_cast<const std::byte*>(view.data) + first * pageStride * element,
          {{pageStride, last + 1 - first},
           {view.headStride, problem_.kvHeads},
           {view.rowStride, problem_.pageSize},
           {view.columnStride, columns}},
          element);
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
    span.offset = offset + int64_t(reinterpret_cast<uintptr_t>(span.begin) % uintptr_t(loadBytes));
    offset = roundUp(span.offset + (span.end - span.begin), residence_.tensors ? alignment : loadBytes);
  }
  outputsBegin_ = offset;
}

void DeviceProblem::upload(Stream& stream) {
  findPages(stream);
  measure();
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
  copySpans(stream, base);
  if (const auto [first, last] = scalePages(); last >= first) {
    const int64_t skipped = first * scalesPerPage() * int64_t(sizeof(float));
    translate(problem_.keyScales, skipped);
    translate(problem_.valueScales, skipped);
  }
  auto output = outputs_.begin();
  const auto place = [&](auto& view) {
    if (view) view.data = reinterpret_cast<decltype(view.data)>(base + CUdeviceptr(outputsBegin_ + output++->offset));
  };
  for (size_t i = 0; i < sequences_.size(); i++) {
    Sequence& sequence = sequences_[i];
    translateInputs(i);
    if (!residence_.tensors) continue;
    place(sequence.output);
    place(sequence.lse);
    place(sequence.weights);
    place(sequence.scores);
  }
}

void DeviceProblem::copySpans(Stream& stream, CUdeviceptr to) const {
  if (const size_t words = size_t(outputsBegin_) / sizeof(uint32_t); !residence_.tensors && words <= mostWrittenWords) {
    std::vector<uint32_t> together(words);  // floats and integers: many short ones, and so in few launches
    for (const Span& span : spans_)
      std::memcpy(reinterpret_cast<std::byte*>(together.data()) + span.offset, span.begin,
                  size_t(span.end - span.begin));
    Tables tables;
    tables.add(together, to);
    return tables.write(stream.device(), stream.compute()->get());
  }
  for (const Span& span : spans_)
    stream.toDevice().toDevice(
        to + CUdeviceptr(span.offset), size_t(span.end - span.begin),
        [&](std::byte* chunk, size_t offset, size_t size) { std::memcpy(chunk, span.begin + offset, size); });
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

void DeviceProblem::translateInputs(size_t sequenceIndex) {
  Sequence& sequence = sequences_[sequenceIndex];
  if (residence_.tensors) {
    // Page 0 may lie outside what was copied, so paged tensors move by the first page that is used.
    const int64_t page = problem_.pageSize > 0 ? pages_[sequenceIndex].first : 0,
                  element = byteSize(problem_.kvDtype());
    translate(sequence.query.data, 0);
    translate(sequence.key.data, page * sequence.keyPageStride * element);
    translate(sequence.value.data, page * sequence.valuePageStride * element);
    translate(sequence.mask.data, 0);
    translate(sequence.bias.data, 0);
  }
  if (residence_.pageTable) translate(sequence.pageTable, 0);
  if (residence_.alibiSlopes) translate(sequence.alibiSlopes, 0);
  if (residence_.sinks) translate(sequence.sinks, 0);
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
