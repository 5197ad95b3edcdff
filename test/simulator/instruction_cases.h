// Table-driven tests of instructions that compute one value per thread.
//
// A row gives statements over the registers of its inputs and result, and for each lane the inputs and the result that
// the PTX documentation demands. Registers: ra rb rc (b32), ha hb hc (b16), la lb lc (b64) hold the inputs; the result
// is rd, hd, ld or pd. %t (b32), %u (b64), %q (pred) and %h (b16) are free.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fovea::simulatorTest {

struct Values {
  uint64_t a, b, c, expected;
};
struct InstructionCase {
  const char* name;
  const char* statements;
  char result;  // 'r', 'h', 'l' or 'p'
  std::vector<Values> lanes;
  uint32_t tolerance = 0;  // in units of the last place, for approximations
};

void registerCases(const std::string& group, const std::vector<InstructionCase>& cases);

}  // namespace fovea::simulatorTest
