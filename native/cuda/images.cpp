#include "images.h"

#include <algorithm>
#include <charconv>

// Made by EmbedFatbin.cmake, one per .cu file.
extern "C" {
extern const unsigned char fovea_image_table_begin[];
extern const unsigned char fovea_image_copy_begin[];
extern const unsigned char fovea_image_store_begin[];
extern const unsigned char fovea_image_standard_scores_begin[];
extern const unsigned char fovea_image_standard_output_begin[];
extern const unsigned char fovea_image_standard_weights_begin[];
extern const unsigned char fovea_image_tiled_sm80_begin[];
extern const unsigned char fovea_image_tiled_float32_sm80_begin[];
extern const unsigned char fovea_image_tiled_int8_sm80_begin[];
extern const unsigned char fovea_image_tiled_sm90_begin[];
extern const unsigned char fovea_image_tiled_weights_begin[];
extern const unsigned char fovea_image_tile_map_begin[];
extern const unsigned char fovea_image_decode_begin[];
extern const unsigned char fovea_image_decode_int8_begin[];
extern const unsigned char fovea_image_decode_sm90_begin[];
extern const unsigned char fovea_image_merge_begin[];
}

namespace fovea::cuda {

bool runsOn(std::string_view architectures, int computeMajor, int computeMinor) {
  while (!architectures.empty()) {
    const std::string_view name = architectures.substr(0, architectures.find(','));
    architectures.remove_prefix(std::min(name.size() + 1, architectures.size()));
    int version = 0;
    const char suffix = *std::from_chars(name.begin(), name.end(), version).ptr;
    const int major = version / 10, minor = version % 10;
    const bool own = major == computeMajor, real = name.ends_with("-real");
    if (suffix == 'a' ? own && minor == computeMinor
        : own         ? minor <= computeMinor
                      : !real && suffix != 'f' && major < computeMajor)
      return true;
  }
  return false;
}

}  // namespace fovea::cuda

namespace fovea::cuda::images {

const Image table{"table", fovea_image_table_begin};
const Image copy{"copy", fovea_image_copy_begin};
const Image store{"store", fovea_image_store_begin};
const Image standardScores{"standard_scores", fovea_image_standard_scores_begin};
const Image standardOutput{"standard_output", fovea_image_standard_output_begin};
const Image standardWeights{"standard_weights", fovea_image_standard_weights_begin};
const Image tiled{"tiled_sm80", fovea_image_tiled_sm80_begin};
const Image tiledFloat32{"tiled_float32_sm80", fovea_image_tiled_float32_sm80_begin};
const Image tiledInt8{"tiled_int8_sm80", fovea_image_tiled_int8_sm80_begin};
const Image tiledSm90{"tiled_sm90", fovea_image_tiled_sm90_begin};
const Image tiledWeights{"tiled_weights", fovea_image_tiled_weights_begin};
const Image tileMap{"tile_map", fovea_image_tile_map_begin};
const Image decode{"decode", fovea_image_decode_begin};
const Image decodeInt8{"decode_int8", fovea_image_decode_int8_begin};
const Image decodeSm90{"decode_sm90", fovea_image_decode_sm90_begin};
const Image merge{"merge", fovea_image_merge_begin};

}  // namespace fovea::cuda::images
