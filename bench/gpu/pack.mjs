// For a machine with a GPU but without Node or network: Node itself, fovea's build and the packages that its tests need, in one
// archive of some 50 MB, to be unpacked in a checkout of the same commit.
//
//   npm run build && node bench/gpu/pack.mjs [build/gpu-node.tar.xz]
//   there: tar -xf build/gpu-node.tar.xz && export PATH=$PWD/build/gpu-node:$PATH
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
process.chdir(root);
const archive = process.argv[2] ?? "build/gpu-node.tar.xz";
const wanted = [
  "vitest",
  "tsx",
  "fast-check",
  ...Object.keys(JSON.parse(readFileSync("package.json", "utf8")).dependencies),
];
const onlyToBuild = new Set(["cmake-js", "node-addon-api", "node-api-headers"]);

/** Where `name` is found from a package's folder, as Node does. */
function find(name, from) {
  for (let folder = from; ; folder = path.dirname(folder)) {
    const found = path.join(folder, "node_modules", name);
    if (existsSync(path.join(found, "package.json"))) return found;
    if (folder === root) return undefined;
  }
}

const packages = new Set();
function add(name, from) {
  const folder = find(name, from);
  if (folder === undefined || packages.has(folder)) return;
  packages.add(folder);
  const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(
    readFileSync(path.join(folder, "package.json"), "utf8"),
  );
  const peers = "vite" in (peerDependencies ?? {}) ? ["vite"] : [];
  for (const next of [...Object.keys(dependencies ?? {}), ...Object.keys(optionalDependencies ?? {}), ...peers])
    add(next, folder);
}
for (const name of wanted) if (!onlyToBuild.has(name)) add(name, root);

mkdirSync("build/gpu-node", { recursive: true });
cpSync(process.execPath, "build/gpu-node/node");
mkdirSync("build/gpu-node/Release", { recursive: true });
execFileSync("strip", ["-o", "build/gpu-node/Release/fovea.node", "build/Release/fovea.node"]);
const files = ["build/gpu-node/node", "build/gpu-node/Release/fovea.node", "dist", ...packages].map((file) =>
  path.relative(root, path.resolve(file)),
);
// The module goes where a build puts it.
const rename = "s,^build/gpu-node/Release,build/Release,";
execFileSync("tar", ["-cJf", archive, "--exclude=*.map", "--exclude=*.d.ts", `--transform=${rename}`, ...files], {
  stdio: "inherit",
  env: { ...process.env, XZ_OPT: "-T0" },
});
console.log(`${archive}: ${(statSync(archive).size / 2 ** 20).toFixed(1)} MiB, ${packages.size} packages`);
