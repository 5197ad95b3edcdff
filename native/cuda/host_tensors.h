// Host tensors of a call on their way to the device and back.
#pragma once
#include <initializer_list>
#include <vector>

#include "stream.h"

namespace fovea::cuda {

/// A problem on the device. Inputs are copied as they lie in memory, from the first to the last byte that is used, so
/// strides and page tables stay as they are; overlapping and touching inputs are one. Each lies at its host address
/// modulo 16, so a plan made from host pointers holds. Outputs are packed on the device and spread to their places,
/// whatever their strides, on the way back.
class DeviceProblem {
 public:
  /// Nothing is read yet. The problem's sequences are copied; host memory must live until upload, outputs until
  /// download.
  DeviceProblem(const Problem& problem, Residence residence);
  DeviceProblem(const DeviceProblem&) = delete;
  DeviceProblem& operator=(const DeviceProblem&) = delete;

  /// Allocates on the stream and enqueues the copies of inputs; returns when they have been read. In a submitting step.
  /// Waits for the stream if keys and values are the host's and their page tables the device's: these say which to
  /// copy.
  void upload(Stream& stream);
  /// The problem with device pointers, after upload.
  const Problem& get() const { return problem_; }
  /// Copies outputs to the host. On the finishing thread, once the kernels are done.
  void download(Stream& stream);

 private:
  struct Span {  // of host memory that is read
    const std::byte* begin;
    const std::byte* end;
    int64_t offset;  // in the device buffer
  };
  struct Extent {
    int64_t heads, rows, columns;
    int64_t elementBytes;
    int64_t bytes() const { return heads * rows * columns * elementBytes; }
  };
  struct Output {
    std::byte* data;  // on the host; strides in bytes
    int64_t headStride, rowStride, columnStride;
    Extent extent;
    int64_t offset;  // in the device buffer, from outputsBegin_
  };

  struct Dimension {
    int64_t stride, count;
  };
  struct PageRange {
    int64_t first, last;
  };

  void addSpan(const void* data, std::initializer_list<Dimension> dimensions, int64_t elementBytes);
  template <class Element>
  void addRows(const View<Element>& view, int64_t heads, int64_t rows, int64_t columns, int64_t elementBytes);
  void addKeys(size_t sequenceIndex, const View<const void>& view, int64_t pageStride, int64_t columns);
  void findPages(Stream& stream);
  int64_t scalesPerPage() const;
  PageRange scalePages() const;
  void measure();
  void mergeSpans();
  void copySpans(Stream& stream, CUdeviceptr to) const;
  template <class Element>
  void placeOutput(View<Element>& view, const Extent& extent);
  template <class Pointer>
  void translate(Pointer*& pointer, int64_t bytes) const;
  void translateInputs(size_t sequenceIndex);
  void scatter(const std::byte* from, int64_t offset, int64_t bytes) const;

  Problem problem_;
  Residence residence_;
  std::vector<Sequence> sequences_;
  std::vector<PageRange> pages_;  // of each sequence whose keys and values are copied by page: {0, -1} if it has none
  std::vector<Span> spans_;
  std::vector<Output> outputs_;
  int64_t outputsBegin_ = 0, outputsBytes_ = 0;
  std::shared_ptr<DeviceBuffer> buffer_;
};

}  // namespace fovea::cuda
