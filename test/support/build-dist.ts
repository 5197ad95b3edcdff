// The command line, and the page of fovea/maps, are tested as built; it must be from these sources.
import { execFileSync } from "node:child_process";

export default function buildDist(): void {
  execFileSync("npm", ["run", "--silent", "build:ts"], { stdio: ["ignore", "ignore", "inherit"] });
}
