// Runs the rows of the instruction tables: one warp, one row per launch.
#include "instruction_cases.h"

#include "harness.h"

namespace fovea::simulatorTest {
namespace {

std::string textOf(const InstructionCase& row) {
  std::string body = R"(
  .reg .b32 ra, rb, rc, rd, %t<8>;
  .reg .b16 ha, hb, hc, hd, %hx<8>;
  .reg .b64 la, lb, lc, ld, %u<8>;
  .reg .pred pd, %q<4>;
  mul.wide.u32 %l0, %r30, 24;
  add.u64 %l0, %l30, %l0;
  ld.global.u64 la, [%l0];
  ld.global.u64 lb, [%l0+8];
  ld.global.u64 lc, [%l0+16];
  cvt.u32.u64 ra, la;
  cvt.u32.u64 rb, lb;
  cvt.u32.u64 rc, lc;
  cvt.u16.u64 ha, la;
  cvt.u16.u64 hb, lb;
  cvt.u16.u64 hc, lc;
  )";
  body += row.statements;
  if (row.result == 'r') body += "\n  cvt.u64.u32 ld, rd;";
  if (row.result == 'h') body += "\n  cvt.u64.u16 ld, hd;";
  if (row.result == 'p') body += "\n  selp.u64 ld, 1, 0, pd;";
  return kernelText(body + R"(
  mul.wide.u32 %l1, %r30, 8;
  add.u64 %l1, %l31, %l1;
  st.global.u64 [%l1], ld;)",
                    "", "sm_90");
}

bool isClose(uint64_t actual, uint64_t expected, uint32_t tolerance) {
  if (actual == expected) return true;
  const auto distance = static_cast<int64_t>(actual) - static_cast<int64_t>(expected);
  return tolerance && (distance < 0 ? -distance : distance) <= tolerance;
}

void runCase(const InstructionCase& row) {
  const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", "9.0", "8.0");
  Run request;
  request.ptx = textOf(row);
  request.block = static_cast<unsigned>(row.lanes.size());
  request.outputWords = row.lanes.size() * 2;
  for (const Values& lane : row.lanes)
    for (uint64_t value : {lane.a, lane.b, lane.c}) {
      request.input.push_back(static_cast<uint32_t>(value));
      request.input.push_back(static_cast<uint32_t>(value >> 32));
    }
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  if (outcome.loadResult) return;
  expectSuccess(outcome.result, "running\n" + outcome.reports);
  if (outcome.result) return;
  for (size_t i = 0; i < row.lanes.size(); i++) {
    const uint64_t actual = static_cast<uint64_t>(outcome.output[2 * i + 1]) << 32 | outcome.output[2 * i];
    const Values& lane = row.lanes[i];
    expect(isClose(actual, lane.expected, row.tolerance),
           "of " + hexadecimal(lane.a) + ", " + hexadecimal(lane.b) + ", " + hexadecimal(lane.c) + ": got " +
               hexadecimal(actual) + ", expected " + hexadecimal(lane.expected));
  }
}

}  // namespace

void registerCases(const std::string& group, const std::vector<InstructionCase>& cases) {
  for (const InstructionCase& row : cases) Register(group + "/" + row.name, [row] { runCase(row); });
}

}  // namespace fovea::simulatorTest
