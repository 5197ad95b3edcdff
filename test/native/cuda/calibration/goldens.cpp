#include "goldens.h"

#include <cctype>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace fovea::test::calibration {
namespace {

const std::filesystem::path sourceFolder = FOVEA_GOLDENS;
constexpr size_t wordsPerLine = 12;

}  // namespace

Goldens readGoldensFile(const std::string& path) {
  std::ifstream file(path);
  Goldens goldens;
  std::string line;
  Golden* current = nullptr;
  while (std::getline(file, line)) {
    std::istringstream fields(line);
    std::string first, name;
    fields >> first;
    if (first == "gpu") {
      std::getline(fields >> std::ws, goldens.gpu);
    } else if (first == "kernel") {
      fields >> name;
      current = &goldens.kernels[name];
      fields >> std::hex >> current->inputHash;
    } else if (!first.empty()) {
      if (!current) throw std::runtime_error(path + ": words before the first kernel");
      fields.seekg(0);
      for (uint32_t word; fields >> std::hex >> word;) current->words.push_back(word);
    }
  }
  return goldens;
}

uint32_t hashOf(const Words& words) {
  uint32_t hash = 0x811c9dc5;
  for (const uint32_t word : words)
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ (word >> shift & 0xff)) * 0x01000193;
  return hash;
}

std::map<std::string, Goldens> readGoldens() {
  std::map<std::string, Goldens> all;
  if (!std::filesystem::is_directory(sourceFolder)) return all;
  for (const auto& entry : std::filesystem::directory_iterator(sourceFolder))
    if (entry.path().extension() == ".txt")
      all[entry.path().filename().string()] = readGoldensFile(entry.path().string());
  return all;
}

std::string goldensPath(const std::string& folder, const std::string& gpuName) {
  std::string name = gpuName;
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '-';
  return ((folder.empty() ? sourceFolder : std::filesystem::path(folder)) / (name + ".txt")).string();
}

void writeGoldens(const Goldens& goldens, const std::string& path) {
  const auto parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent);
  std::ofstream file(path);
  file << "gpu " << goldens.gpu << "\n" << std::hex;
  for (const auto& [kernel, golden] : goldens.kernels) {
    file << "kernel " << kernel << " " << golden.inputHash << "\n";
    for (size_t i = 0; i < golden.words.size(); i++)
      file << golden.words[i] << (i % wordsPerLine == wordsPerLine - 1 || i + 1 == golden.words.size() ? "\n" : " ");
  }
  if (!file.flush()) throw std::runtime_error("cannot write " + path);
}

}  // namespace fovea::test::calibration
