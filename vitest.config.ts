import { defineConfig } from "vitest/config";

/** Suites that compute, which run once more by the portable kernels. */
const computing = ["parity/**/*", "properties", "invariance", "numerics"].map((name) => `test/${name}.test.ts`);

export default defineConfig({
  test: {
    pool: "forks",
    testTimeout: 60_000,
    hookTimeout: 60_000,
    coverage: { provider: "v8", include: ["lib/**/*.ts"] },
    projects: [
      {
        extends: true,
        test: {
          name: "default",
          include: ["test/**/*.test.ts"],
          typecheck: { enabled: true, include: ["test/**/*.test-d.ts"], tsconfig: "./tsconfig.json" },
        },
      },
      { extends: true, test: { name: "baseline", include: computing, env: { FOVEA_CPU_ISA: "baseline" } } },
    ],
  },
});
