// Rows on their way into pages on the device.
#pragma once
#include <vector>

#include "../attention/row_store.h"
#include "stream.h"

namespace fovea::cuda {

/// Enqueues the stores. Tensors and pages are the device's; slots, frequencies and positions the host's, and have been
/// read when it returns. In a submitting step.
void launchStores(Stream& stream, const std::vector<RowStore>& stores);

}  // namespace fovea::cuda
