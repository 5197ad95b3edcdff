// The scheduler of a CTA, and reports.
#include "exec/cta.h"

#include <algorithm>

#include "ptx/body.h"

namespace fovea::simulator {
namespace {

constexpr size_t kMaxReports = 16;

uint32_t sharedBytes(const Launch& launch) {
  const Kernel& kernel = *launch.kernel;
  if (launch.dynamicSharedBytes == 0) return kSharedBase + static_cast<uint32_t>(kernel.staticSharedBytes);
  return dynamicSharedBase(kernel) + launch.dynamicSharedBytes;
}

Dim3 indexOf(uint32_t number, const Dim3& size) {
  return {number % size[0], number / size[0] % size[1], number / size[0] / size[1]};
}

std::string maskText(LaneMask mask) { return hexadecimal(mask); }

}  // namespace

Cta::Cta(Launch& launch, uint32_t number)
    : launch(launch),
      kernel(*launch.kernel),
      number(number),
      index(indexOf(number, launch.grid)),
      threads(launch.block[0] * launch.block[1] * launch.block[2]),
      shared(sharedBytes(launch), static_cast<int>((threads + kLanes - 1) / kLanes)),
      warps((threads + kLanes - 1) / kLanes) {
  randomState_ = (launch.schedule.seed + 1) * 0x9e3779b97f4a7c15ull ^ (number + 1) * 0xbf58476d1ce4e5b9ull;
  for (size_t i = 0; i < warps.size(); i++) {
    Warp& warp = warps[i];
    warp.id = static_cast<int>(i);
    const uint32_t count = std::min<uint32_t>(kLanes, threads - static_cast<uint32_t>(i) * kLanes);
    warp.live = warp.mask = count == kLanes ? kAllLanes : (1u << count) - 1;
    warp.rows.resize(static_cast<size_t>(kernel.rows));
    for (Row& row : warp.rows) row.lane.fill(0x7fc0deadu);
    warp.poison.assign(static_cast<size_t>(kernel.rows), kAllLanes);
    warp.predicates.assign(static_cast<size_t>(kernel.predicates), 0);
    warp.predicatePoison.assign(static_cast<size_t>(kernel.predicates), kAllLanes);
    warp.carryPoison = kAllLanes;
    warp.constants = kernel.constants.data();
    warp.local.assign(static_cast<size_t>(kernel.localBytes) * kLanes, 0xff);
    warp.localDefined.assign(warp.local.size(), 0);
    warp.known.local.at[warp.id] = 1;
    warp.registers = launch.registers;
    if (kernel.usesProducts) warp.products = std::make_unique<WarpgroupProducts>(kernel);
  }
}

uint64_t Cta::random() {
  randomState_ ^= randomState_ << 13;
  randomState_ ^= randomState_ >> 7;
  randomState_ ^= randomState_ << 17;
  return randomState_ * 0x2545f4914f6cdd1dull >> 16;
}

bool Cta::completesLate() {
  if (launch.schedule.completion == Completion::kRandom) return random() & 1;
  return launch.schedule.completion == Completion::kLate;
}

std::array<uint32_t, 3> Cta::threadIndex(int warp, int lane) const {
  return indexOf(static_cast<uint32_t>(warp * kLanes + lane), launch.block);
}

// ---------------------------------------------------------------------------------------------- scheduling

bool Cta::advance() {
  stalled_ = false;
  if (finished_) return false;
  bool progress = runWarps();
  if (std::all_of(warps.begin(), warps.end(), [](const Warp& warp) { return warp.isDone(); })) {
    finish();
    return false;
  }
  progress |= bulk.advance(*this, progress);
  if (!progress && !mbarriers.empty()) {
    waitsExpire = true;
    progress = runWarps();
    waitsExpire = false;
  }
  if (executed_ > launch.schedule.instructionLimit) {
    throw FatalReport("endless", "the CTA executed " + std::to_string(executed_) + " warp instructions without ending");
  }
  stalled_ = !progress;
  return true;
}

bool Cta::runWarps() {
  bool progress = false;
  const size_t start = launch.schedule.seed ? random() % warps.size() : 0;
  const auto quantum = static_cast<uint64_t>(launch.schedule.quantum);
  for (size_t i = 0; i < warps.size(); i++) {
    Warp& warp = warps[(start + i) % warps.size()];
    if (warp.isDone() || warp.barrier >= 0) continue;
    progress |= step(warp, static_cast<int>(launch.schedule.seed ? 1 + random() % quantum : quantum));
  }
  return progress;
}

bool Cta::step(Warp& warp, int quantum) {
  bool progress = false;
  for (Fragment& fragment : warp.others)
    if (fragment.wait == Fragment::Wait::kRetry) fragment.wait = Fragment::Wait::kNothing;
  while (quantum-- > 0 && !warp.isDone() && warp.barrier < 0) {
    const uint64_t before = executed_;
    if (!execute(warp)) break;
    // Switching between fragments is free, or a quantum of one instruction would never execute any.
    if (executed_ == before) {
      quantum++;
    } else {
      progress = true;
    }
  }
  return progress;
}

bool Cta::waitForConvergence(Warp& warp, const Instruction& instruction) {
  if (warp.park(Fragment::Wait::kConvergence)) return true;
  for (Fragment& other : warp.others) {
    if (other.wait != Fragment::Wait::kRetry) continue;
    // The fragment that waits for something else may still come here.
    std::swap(warp.pc, other.pc);
    std::swap(warp.mask, other.mask);
    other.wait = Fragment::Wait::kConvergence;
    return false;
  }
  current_ = &instruction;
  std::string where;
  for (const Fragment& other : warp.others)
    where += "; lanes " + maskText(other.mask) + " wait at PTX line " + std::to_string(kernel.code[other.pc].line);
  throw FatalReport("divergence", "warp " + std::to_string(warp.id) + ": only lanes " + maskText(warp.mask) + " of " +
                                      maskText(warp.live) + " reach an instruction that all must execute together" +
                                      where);
}

bool Cta::execute(Warp& warp) {
  if (!warp.others.empty()) warp.reconverge();
  const Instruction& instruction = kernel.code[warp.pc];
  current_ = &instruction;
  if (instruction.converged && warp.mask != warp.live) return waitForConvergence(warp, instruction);

  LaneMask active = warp.mask;
  LaneMask guardPoison = 0;
  if (instruction.guard >= 0) {
    const LaneMask guard = warp.predicates[instruction.guard];
    active &= instruction.guardNegated ? ~guard : guard;
    guardPoison = warp.predicatePoison[instruction.guard] & warp.mask;
    if (guardPoison && (instruction.flow != Flow::kNext || instruction.hasEffect)) {
      report(warp, std::countr_zero(guardPoison), "uninitialized-branch",
             "an uninitialised value decides whether this instruction executes");
      warp.predicatePoison[instruction.guard] = 0;
      guardPoison = 0;
    }
  }
  warp.active = active;
  if (warp.products && active) warp.products->checkRegisters(*this, warp, instruction);
  const LaneMask fragment = warp.mask;
  if (instruction.propagatesPoison) {
    LaneMask sources = 0;
    for (int i = 0; i < instruction.operandCount; i++)
      if (instruction.operand[i].uses) sources |= warp.poisonOf(instruction.operand[i]);
    for (int i = 0; i < instruction.operandCount; i++)
      if (instruction.operand[i].defines) warp.setPoison(instruction.operand[i], active, sources);
  }
  Outcome outcome = Outcome::kNext;
  if (active || instruction.flow != Flow::kNext) {
    outcome = instruction.execute(*this, warp, instruction, active);
    if (outcome == Outcome::kRetry) return warp.park(Fragment::Wait::kRetry);
  }
  // Where it is unknown whether the instruction executed, so are its results.
  if (guardPoison)
    for (int i = 0; i < instruction.operandCount; i++)
      if (instruction.operand[i].defines) warp.setPoison(instruction.operand[i], guardPoison, kAllLanes);
  executed_++;
  counters.warpInstructions++;
  counters.threadInstructions += static_cast<uint64_t>(std::popcount(active));
  if (fragment != (warp.live | fragment)) counters.divergentInstructions++;
  if (outcome == Outcome::kNext || outcome == Outcome::kBlocked) warp.pc++;
  return true;
}

void Cta::finish() {
  finished_ = true;
  current_ = nullptr;
  bulk.finish(*this);
  for (size_t id = 0; id < barriers_.size(); id++) {
    if (barriers_[id].arrived == 0) continue;
    reports_.push_back(makeReport(-1, -1, nullptr, "barrier-left",
                                  "the CTA ends while barrier " + std::to_string(id) + " has " +
                                      std::to_string(barriers_[id].arrived) + " of " +
                                      std::to_string(barriers_[id].expected) + " threads"));
  }
  for (const auto& [number, order] : warpgroups)
    if (!order.isEven())
      reports_.push_back(makeReport(4 * number, -1, nullptr, "wgmma-warpgroup",
                                    "a warpgroup ends of which some warps issued more wgmma than others"));
  for (const Warp& warp : warps) {
    const auto changes = registerChanges.find(warp.id / 4);
    if (changes != registerChanges.end() && warp.registerChanges < changes->second.size())
      reports_.push_back(makeReport(warp.id, -1, nullptr, "registers",
                                    "the warp ends without a setmaxnreg that others of its warpgroup executed"));
    if (warp.products && warp.products->isBusy())
      reports_.push_back(makeReport(warp.id, -1, nullptr, "wgmma-left",
                                    "the warp ends with a wgmma that no wgmma.wait_group waited for"));
    if (warp.copies.empty()) continue;
    reports_.push_back(
        makeReport(warp.id, -1, nullptr, "copy-left",
                   "the warp ends with " + std::to_string(warp.copies.size()) + " cp.async that nothing waited for"));
  }
}

// ---------------------------------------------------------------------------------------------- reports

Report Cta::makeReport(int warp, int lane, const Instruction* instruction, const std::string& kind,
                       const std::string& message) {
  Report report;
  report.kind = kind;
  report.message = message;
  report.kernel = kernel.name;
  report.cta = index;
  report.warp = warp;
  report.lane = lane;
  if (lane >= 0) report.thread = threadIndex(warp, lane);
  if (instruction) {
    report.ptxLine = instruction->line;
    report.instruction = std::string(instruction->mnemonic);
    const SourceLocation& location = kernel.locations[instruction->location];
    if (location.line) report.source = launch.module->file(location.file) + ":" + std::to_string(location.line);
    if (location.inlinedLine)
      report.source += " (inlined at " + launch.module->file(location.inlinedFile) + ":" +
                       std::to_string(location.inlinedLine) + ")";
  }
  return report;
}

void Cta::report(const Warp& warp, int lane, const std::string& kind, const std::string& message) {
  const uint32_t line = current_ ? current_->line : 0;
  for (Report& known : reports_) {
    if (known.ptxLine == line && known.kind == kind) {
      known.count++;
      return;
    }
  }
  if (reports_.size() >= kMaxReports) return;
  reports_.push_back(makeReport(warp.id, lane, current_, kind, message));
}

bool Cta::checkDefined(const Warp& warp, const Operand& operand, LaneMask lanes, const char* what) {
  const LaneMask bad = warp.poisonOf(operand) & lanes;
  if (!bad) return true;
  report(warp, std::countr_zero(bad), "uninitialized", std::string("an uninitialised value is used as ") + what);
  return false;
}

std::string Cta::describeWaits() const {
  std::string text;
  for (const Warp& warp : warps) {
    if (warp.isDone()) continue;
    const int32_t pc = warp.barrier >= 0 ? warp.pc - 1 : warp.pc;
    text += "\n    warp " + std::to_string(warp.id) + " at PTX line " + std::to_string(kernel.code[pc].line) + " (" +
            std::string(kernel.code[pc].mnemonic) + ")";
    const SourceLocation& location = kernel.locations[kernel.code[pc].location];
    if (location.line) text += " " + launch.module->file(location.file) + ":" + std::to_string(location.line);
    if (warp.barrier >= 0) text += ", waits for barrier " + std::to_string(warp.barrier);
    for (const Fragment& other : warp.others)
      text += "; its lanes " + maskText(other.mask) + " at PTX line " + std::to_string(kernel.code[other.pc].line);
  }
  for (size_t id = 0; id < barriers_.size(); id++) {
    const Barrier& barrier = barriers_[id];
    if (barrier.arrived == 0) continue;
    text += "\n    barrier " + std::to_string(id) + ": " + std::to_string(barrier.arrived) + " of " +
            (barrier.expected ? std::to_string(barrier.expected) : "all") + " threads";
  }
  if (freeRegisters) text += "\n    " + std::to_string(freeRegisters) + " registers are free";
  return text + describeMbarriers(*this);
}

void Cta::fail(const FatalReport& fatal) { reports_.push_back(makeReport(-1, -1, current_, fatal.kind, fatal.what())); }

void Cta::reportDeadlock() {
  reports_.push_back(makeReport(-1, -1, nullptr, "deadlock", "no warp can go on:" + describeWaits()));
}

}  // namespace fovea::simulator
