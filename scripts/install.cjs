"use strict";
// npm install: uses a prebuilt binary when one loads here, else compiles. A clone compiles what changed: an older build loads, too.
// npm_config_build_from_source=true npm install   always compiles.
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const root = path.join(__dirname, "..");
const { name } = require("../package.json");
const flag = process.env.npm_config_build_from_source;
const fromSource = flag === "" || flag === "true" || flag === name || fs.existsSync(path.join(root, ".git"));

// In a child process: a binary that dies (wrong libc, illegal instruction) must not take the installer with it.
const load = () =>
  spawnSync(process.execPath, ["-e", 'require("node-gyp-build")(process.argv[1])', root], {
    cwd: root,
    stdio: "ignore",
  }).status === 0;

if (fromSource || !load()) {
  const cmakeJs = require.resolve("cmake-js/bin/cmake-js");
  const build = [cmakeJs, "build", "--parallel", String(os.availableParallelism())];
  const { status } = spawnSync(process.execPath, build, { cwd: root, stdio: "inherit" });
  if (status !== 0 || !load()) {
    console.error(
      `\n${name}: no prebuilt binary loads on ${process.platform}-${process.arch}, and compiling failed.\n` +
        "Compiling needs CMake >= 3.21 and a C++20 compiler (g++ >= 11 or clang >= 14).\n",
    );
    process.exit(1);
  }
}
