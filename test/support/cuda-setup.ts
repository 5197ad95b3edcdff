// Runs before each test file of the "cuda" project: the simulator, if that is the driver, is told what to do by a file.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeEach } from "vitest";
import { drawGpu, drawSchedule } from "./simulator.js";

const folder = mkdtempSync(path.join(tmpdir(), "fovea-simulator-"));
process.env["FOVEA_SIM_SETTINGS"] = path.join(folder, "settings");
afterAll(() => rmSync(folder, { recursive: true }));

beforeEach(({ task }) => {
  const name = `${task.file.name} ${task.fullName ?? task.name}`;
  drawGpu(name);
  drawSchedule(name);
});
