// The page of fovea/maps is bundled into dist; tests must see the one of these sources.
import { execFileSync } from "node:child_process";

export default function buildPage(): void {
  execFileSync("npm", ["run", "--silent", "build:page"], { stdio: ["ignore", "ignore", "inherit"] });
}
