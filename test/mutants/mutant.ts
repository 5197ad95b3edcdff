/** A known bug to plant in a kernel source, and the test that must notice it. */
export interface Mutant {
  /** What is wrong, in a few words. */
  name: string;
  /** In native/cuda/kernels. */
  file: string;
  /** The .cu file that is compiled with the bug: `file` itself, or one that includes it. */
  image: string;
  /**
   * Part of the lines that say which kernels the image has: of many only those are compiled that the tests run, since
   * each takes seconds. Default: all.
   */
  kernels?: string;
  /** Of the GPU. Default: "9.0" for Hopper's images, "8.0" for the others. */
  capability?: string;
  /** Text that stands in the file exactly once, and what replaces it. */
  find: string;
  replace: string;
  /** Parts of test names for fovea_cuda_test: one of these tests must fail. */
  tests: readonly string[];
  /**
   * How: by the simulator's report of one of these kinds (native/simulator/README.md lists them), or by "numbers", a
   * result that differs from the reference, or a count of work that differs from the plan.
   */
  caughtBy: readonly string[];
}
