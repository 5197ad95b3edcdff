#!/usr/bin/env node
"use strict";
// prebuildify runs `node-gyp rebuild --target=… --devdir=… --arch=… --release`; this answers with cmake-js.
const { spawnSync } = require("node:child_process");
const { rmSync } = require("node:fs");
const { join } = require("node:path");

const given = process.argv.slice(2);
const arch = given.find((argument) => argument.startsWith("--arch="))?.slice("--arch=".length);
const rebuild = ["rebuild", "--config", "Release", "--CDFOVEA_SIMULATOR=OFF"];
if (process.platform === "linux") {
  const older = join(__dirname, "older-libstdcxx.h");
  rebuild.push(`--CDCMAKE_CXX_FLAGS_RELEASE=-O3 -DNDEBUG -include "${older}"`);
}
// The test of the package has images for GPUs already, which take minutes to compile.
const images = process.env.FOVEA_CUDA_IMAGES;
if (images) rebuild.push(`--CDFOVEA_CUDA_IMAGES=${images}`);
if (arch) rebuild.push("--arch", arch);
if (process.platform === "linux" && arch === "arm64" && process.arch !== arch) {
  rebuild.push("--CDCMAKE_SYSTEM_NAME=Linux", "--CDCMAKE_SYSTEM_PROCESSOR=aarch64");
}
const cmakeJs = require.resolve("cmake-js/bin/cmake-js");
const { status } = spawnSync(process.execPath, [cmakeJs, ...rebuild], { stdio: "inherit" });
// The next build here is an own one, not once more for another machine.
for (const made of ["CMakeCache.txt", "CMakeFiles"]) rmSync(`build/${made}`, { recursive: true, force: true });
process.exit(status ?? 1);
