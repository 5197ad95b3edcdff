import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const testFiles = (...names: string[]) => names.map((name) => `test/${name}.test.ts`);

/** Suites that compute, which run once more by each of the lesser sets of kernels. */
const computing = testFiles("parity/**/*", "properties", "invariance", "numerics");

// The GPU's driver where there is one, else the simulator, which a build with nvcc makes.
const simulator = fileURLToPath(new URL("build/libfovea-cudasim.so", import.meta.url));
const driver = process.env["FOVEA_CUDA_DRIVER"] ?? (existsSync("/dev/nvidiactl") ? "libcuda.so.1" : simulator);
const cuda = driver !== simulator || existsSync(simulator);
if (!cuda) console.warn("No GPU, and no simulator as there was no nvcc to build it: CUDA is not tested.");

/** What measures a process, or keeps both cores busy by itself: one after the other, after the rest. */
const alone = testFiles("event-loop", "memory", "package", "server/*", "workers");

// A worker's environment variables do not reach native code, so the GPU's driver could not be named there; and what
// processes of their own do is the same whoever starts them.
const inThreads = process.env["FOVEA_TEST_POOL"] === "threads";
const notInThreads = testFiles("cli", "examples", "leaks", "maps/page", "package", "server/*");
const excluded = inThreads ? notInThreads : [];

/** The other projects are about the processor, on any machine. */
const noGpu = { FOVEA_CUDA_DRIVER: "/no/such/driver" };

/** On the simulator: a GPU of each of these. Every test draws one, a completion mode and a schedule. */
const capabilities = process.env["FOVEA_SIM_COMPUTE_CAPABILITY"] ?? "8.0,8.6,9.0";
const completions = ["early", "late", "random"];

/** Sets of kernels below the processor's best, which the default project has. */
const cpuInfo = existsSync("/proc/cpuinfo") ? readFileSync("/proc/cpuinfo", "utf8") : "";
const lesserSets = process.arch === "x64" ? ["baseline"] : []; // of others there is one
if (cpuInfo.includes(" avx512vl ")) lesserSets.push("avx2");
// Of the two, the one that is not this maker's best (native/cpu/dispatch.cpp).
if (cpuInfo.includes(" avx512_bf16 ")) lesserSets.push(cpuInfo.includes("AuthenticAMD") ? "avx512" : "avx512bf16");
const lesserProjects = lesserSets.map((name) => ({
  extends: true as const,
  test: { name, include: computing, env: { ...noGpu, FOVEA_CPU_ISA: name } },
}));

const cudaProject = (name: string, env: Record<string, string>) => ({
  extends: true as const,
  test: {
    name,
    include: [...computing, "test/batcher.test.ts", "test/cache-program.test.ts", "test/cuda/**/*.test.ts"],
    setupFiles: "test/support/cuda-setup.ts",
    env: { FOVEA_CUDA_DRIVER: driver, FOVEA_TEST_DEVICE: "cuda", ...env },
  },
});

/**
 * A sweep has a project for each capability and completion mode, by two schedules, the second with as many multiprocessors as an
 * H100 has: "cuda 9.0 late 1".
 */
const sweptProjects = capabilities.split(",").flatMap((FOVEA_SIM_COMPUTE_CAPABILITY) =>
  completions.flatMap((FOVEA_TEST_COMPLETION) =>
    ["0", "1"].map((FOVEA_TEST_SEED) => {
      const env = { FOVEA_SIM_COMPUTE_CAPABILITY, FOVEA_TEST_COMPLETION, FOVEA_TEST_SEED };
      const size = { FOVEA_SIM_MULTIPROCESSORS: FOVEA_TEST_SEED === "0" ? "4" : "132" };
      return cudaProject(["cuda", ...Object.values(env)].join(" "), { ...env, ...size });
    }),
  ),
);

const sweep = process.env["FOVEA_SWEEP_RUNS"] !== undefined && driver === simulator;
const cudaProjects = sweep ? sweptProjects : [cudaProject("cuda", { FOVEA_SIM_COMPUTE_CAPABILITY: capabilities })];

export default defineConfig({
  test: {
    pool: inThreads ? "threads" : "forks",
    maxWorkers: 2, // the default is one less than there are cores
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: { provider: "v8", include: ["lib/**/*.ts"] },
    projects: [
      {
        extends: true,
        test: {
          name: "default",
          env: noGpu,
          globalSetup: "test/support/build-dist.ts",
          include: ["test/**/*.test.ts"],
          exclude: ["test/cuda/**", ...alone, ...excluded],
          typecheck: { enabled: !inThreads, include: ["test/**/*.test-d.ts"], tsconfig: "./tsconfig.json" },
        },
      },
      {
        extends: true,
        test: {
          name: "alone",
          env: noGpu,
          include: alone,
          exclude: excluded,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      ...(inThreads ? [] : lesserProjects),
      ...(cuda && !inThreads ? cudaProjects : []),
    ],
  },
});
