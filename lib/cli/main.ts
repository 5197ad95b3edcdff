#!/usr/bin/env node
// The command line. What was asked for goes to stdout, everything else to stderr.
// Exit codes: 0; 1: it failed; 2: it was called in a way that it does not understand.

import { defineCommand } from "citty";
import { suggest } from "../errors.js";
import { bench } from "./bench.js";
import { report, run, usage, UsageError, type Command } from "./command.js";
import { doctor } from "./doctor.js";
import { maps } from "./maps.js";
import { version } from "./version.js";

const commands: Readonly<Record<string, Command>> = { doctor, bench, maps };
const fovea = defineCommand({
  meta: { name: "fovea", version, description: "Attention for Node.js" },
  subCommands: { ...commands },
});

async function main([name, ...rest]: readonly string[]): Promise<void> {
  if (name === "--help" || name === "-h") {
    console.log(await usage(fovea));
  } else if (name === "--version" || name === "-v") {
    console.log(version);
  } else if (name === undefined) {
    throw new UsageError(`expected a command: ${Object.keys(commands).join(", ")}`);
  } else {
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined)
      throw new UsageError(`there is no command "${name}"${suggest(name, Object.keys(commands))}`);
    await run(command, rest, fovea);
  }
}

// console.log itself lets a full disk pass in silence. A reader who has seen enough (head) is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") report("fovea", new Error(`cannot write to the standard output: ${error.message}`));
});

try {
  await main(process.argv.slice(2));
} catch (error) {
  const [command] = process.argv.slice(2);
  const usable = command !== undefined && Object.hasOwn(commands, command) ? ` ${command}` : "";
  report(`fovea${usable}`, error);
}
