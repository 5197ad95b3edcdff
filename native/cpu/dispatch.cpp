#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>

#if FOVEA_X86
#include <cpuid.h>
#endif

namespace fovea::cpu {

namespace FOVEA_BASELINE {  // what every processor of this kind runs
extern const KernelTable table;
}
#if FOVEA_X86
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
#if FOVEA_AVX512BF16
namespace avx512bf16 {
extern const KernelTable table;
}
#endif
#endif

namespace {

struct InstructionSet {
  const KernelTable* table;
  bool runsHere;
};

#if FOVEA_X86
bool hasF16c() {  // __builtin_cpu_supports knows "f16c" in some compilers only
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

std::vector<InstructionSet> inThisBuild() {
  std::vector<InstructionSet> sets;
#if FOVEA_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && hasF16c();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  sets.push_back({&avx512::table, avx2 && avx512});
#if FOVEA_AVX512BF16
  // Measured on AMD's alone. Elsewhere the products of pairs may have half the rate of multiply-adds, and win nothing.
  const bool avx512bf16 = avx512 && __builtin_cpu_supports("avx512bf16"), first = __builtin_cpu_is("amd");
  sets.insert(first ? sets.begin() : sets.end(), {&avx512bf16::table, avx2 && avx512bf16});
#endif
  sets.push_back({&avx2::table, avx2});
#endif
  sets.push_back({&FOVEA_BASELINE::table, true});
  return sets;
}

struct Choice {
  const KernelTable* table = nullptr;
  std::string error;
};

Choice choose() {
  const char* wanted = std::getenv("FOVEA_CPU_ISA");
  std::string known;
  for (const InstructionSet& set : inThisBuild()) {
    if (!wanted || !*wanted) {
      if (set.runsHere) return {set.table, ""};
      continue;
    }
    if (std::string(wanted) == set.table->name) {
      if (set.runsHere) return {set.table, ""};
      return {nullptr, std::string("FOVEA_CPU_ISA: this processor cannot run \"") + wanted + "\""};
    }
    known += known.empty() ? "" : ", ";
    known += set.table->name;
  }
  return {nullptr, "FOVEA_CPU_ISA: expected one of " + known + ", got \"" + wanted + "\""};
}

}  // namespace

const KernelTable& kernels() {
  static const Choice* choice = new Choice(choose());  // never destroyed: pool threads may outlive static destruction
  if (!choice->table) throw std::runtime_error(choice->error);
  return *choice->table;
}

std::vector<std::string> instructionSets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : inThisBuild())
    if (set.runsHere) names.push_back(set.table->name);
  return names;
}

}  // namespace fovea::cpu
