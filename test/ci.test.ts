// How .ci/run counts: its own functions and last lines, around other steps.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const program = fileURLToPath(new URL("../.ci/run", import.meta.url));
const script = readFileSync(program, "utf8");
const parts = /^(.*?)\nstep ".*(\necho\necho "\$SECONDS seconds".*)$/s.exec(script);
if (parts === null) throw new Error("the steps of .ci/run are not where they were");
const [, functions, ending] = parts;

/** The exit status, the steps that failed, and the last line. */
function ci(...steps: string[]): [status: number | null, failed: string[], last: string] {
  const { status, stdout } = spawnSync("bash", ["-c", [functions, ...steps, ending].join("\n"), program], {
    encoding: "utf8",
  });
  const failed = [...stdout.matchAll(/^failed: (.*)$/gm)].map(([, name]) => name!);
  return [status, failed, stdout.trimEnd().split("\n").at(-1)!];
}

const vitest = (line: string) => `printf ' Test Files  2 passed (2)\\n      Tests  ${line}\\n'`;

test("tests are summed, and a step without tests is one", () => {
  const steps = [
    "step lint true",
    `tests vitest ${vitest("3 passed | 1 skipped (4)")}`,
    "tests native echo '5 passed, 0 failed'",
  ];
  expect(ci(...steps)).toEqual([0, [], "9 passed, 0 failed"]);
});

test("what fails is named, whether or not it counts", () => {
  const two = `tests two bash -c "${vitest("2 failed | 1 passed (3)")}; false"`;
  expect(ci("step lint false", two, "tests crash false")).toEqual([1, ["lint", "two", "crash"], "1 passed, 4 failed"]);
  const after = "tests after bash -c \"echo '4 passed, 0 failed'; false\"";
  expect(ci(after)).toEqual([1, ["after"], "4 passed, 1 failed"]);
});

test("what must end in time is left out once it is late", () => {
  const steps = ["SECONDS=0", "in_time step early true", "SECONDS=1700", "in_time step late false", "step lint true"];
  expect(ci(...steps)).toEqual([0, [], "2 passed, 0 failed"]);
});

test("tests of which none passed are a failure", () => {
  const skipped = `tests skipped ${vitest("7 skipped (7)")}`;
  expect(ci("step lint true", skipped, "tests none true", "tests zero echo '0 passed, 0 failed'")).toEqual([
    1,
    ["skipped", "none", "zero"],
    "1 passed, 3 failed",
  ]);
});
