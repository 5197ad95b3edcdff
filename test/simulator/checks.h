// Pairs of kernels: one with a bug, which must be reported, and the same one without it, which must not.
#pragma once

#include <algorithm>

#include "harness.h"

namespace fovea::simulatorTest {

struct Program {
  std::string body;
  unsigned block = 32, grid = 1, shared = 0;
  std::string declarations = "";
  std::vector<uint32_t> input = std::vector<uint32_t>(256, 1);
  size_t outputWords = 256;
  bool fillOutput = true;
  std::string target = "sm_80";
  std::function<void(CUdeviceptr, CUdeviceptr, CUtensorMap&)> encode = nullptr;
};

inline Outcome runProgram(const Program& program) {
  Run request;
  request.ptx = kernelText(program.body, program.declarations, program.target);
  request.block = program.block;
  request.grid = program.grid;
  request.shared = program.shared;
  request.input = program.input;
  request.outputWords = program.outputWords;
  request.fillOutput = program.fillOutput;
  request.encode = program.encode;
  const Setting capability("FOVEA_SIM_COMPUTE_CAPABILITY", program.target == "sm_90a" ? "9.0" : "8.0", "8.0");
  const Outcome outcome = run(request);
  expectSuccess(outcome.loadResult, "loading");
  return outcome;
}

// `kinds`: one, or several with '|' between where the schedule decides what is noticed first.
inline void expectReport(const Program& program, const std::string& kinds) {
  const Outcome outcome = runProgram(program);
  expectEqual<int>(outcome.result, CUDA_ERROR_LAUNCH_FAILED, "result");
  bool found = false;
  for (size_t at = 0; at < kinds.size();) {
    const size_t end = std::min(kinds.find('|', at), kinds.size());
    const std::string kind = kinds.substr(at, end - at) + ":";
    found |= outcome.reports.rfind(kind, 0) == 0 || outcome.reports.find("\n" + kind) != std::string::npos;
    at = end + 1;
  }
  expect(found, "expected " + kinds + ", got: " + outcome.reports);
}
inline void expectClean(const Program& program) {
  const Outcome outcome = runProgram(program);
  expect(outcome.result == CUDA_SUCCESS && outcome.reports.empty(), "expected no report, got: " + outcome.reports);
}
// Under all completion modes and a few schedules.
template <class F>
void underSchedules(F f) {
  for (const char* completion : {"early", "late", "random"})
    for (const char* seed : {"1", "2", "3"}) {
      const Setting first("FOVEA_SIM_COMPLETION", completion, "late");
      const Setting second("FOVEA_SIM_SEED", seed, "1");
      const Setting third("FOVEA_SIM_QUANTUM", seed[0] == '3' ? "1" : "200", "200");
      f();
    }
}
struct Pair {
  const char* name;
  const char* kind;
  Program bad, good;
};
inline void checkPair(const Pair& pair) {
  underSchedules([&] {
    expectReport(pair.bad, pair.kind);
    expectClean(pair.good);
  });
}

}  // namespace fovea::simulatorTest
