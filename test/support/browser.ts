// A real browser without a window, for pages opened from disk.
import { existsSync } from "node:fs";
import { chromium, type Browser } from "playwright-core";

const executablePath = [
  process.env["CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
]
  .filter((path) => path !== undefined)
  .find((path) => existsSync(path));

/** Whether there is a browser to test pages in. */
export const hasBrowser = executablePath !== undefined;

if (!hasBrowser) {
  console.warn("No Chromium here (set CHROMIUM to its path): pages are not tested in a browser.");
}

export const launchBrowser = (): Promise<Browser> =>
  chromium.launch({ executablePath: executablePath!, args: ["--no-sandbox"] });
