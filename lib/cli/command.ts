// What all commands share: strict arguments, and errors that say what to do.

import { parseArgs, stripVTControlCharacters } from "node:util";
import { renderUsage, runCommand, type ArgsDef, type CommandDef } from "citty";

/** A command was called in a way that it does not understand: exit code 2. */
export class UsageError extends Error {}

/** Refuses what `args` does not name, which citty would overlook. */
export function checkArguments(rawArgs: readonly string[], args: ArgsDef): void {
  const definitions = Object.entries(args);
  const options = Object.fromEntries(
    definitions.flatMap(([name, { type }]) =>
      type === "positional" ? [] : [[name, { type: type === "boolean" ? "boolean" : "string" } as const]],
    ),
  );
  const most = definitions.filter(([, { type }]) => type === "positional").length;
  let positionals: string[];
  try {
    ({ positionals } = parseArgs({ args: [...rawArgs], options, allowPositionals: true }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  if (positionals.length > most) {
    throw new UsageError(`unexpected argument "${positionals[most]!}" (a text with spaces needs quotes around it)`);
  }
}

/** A whole number from 1 on. */
export function positive(name: string, value: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number) && number >= 1) return number;
  throw new UsageError(`--${name}: expected a positive whole number, got "${value}"`);
}

/** A command of any arguments, as citty itself types subcommands. */
// oxlint-disable-next-line typescript/no-explicit-any
export type Command = CommandDef<any>;

/** Runs a command, or prints how it is called. */
export async function run(command: Command, rawArgs: readonly string[], parent?: Command): Promise<void> {
  if (rawArgs.includes("--help") || rawArgs.includes("-h")) {
    console.log(await usage(command, parent));
    return;
  }
  checkArguments(rawArgs, command.args as ArgsDef);
  await runCommand(command, { rawArgs: [...rawArgs] });
}

export async function usage(command: Command, parent?: Command): Promise<string> {
  const text = await renderUsage(command, parent);
  return process.stdout.isTTY ? text : stripVTControlCharacters(text);
}

/** Says what is wrong, and with which code the process is to end: 2 when it was called in a way that it does not understand, else 1. */
export function report(name: string, error: unknown): void {
  console.error(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  if (error instanceof UsageError) console.error(`Run ${name} --help to see how it is called.`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}

/** A program that is one command. */
export async function runProgram(name: string, command: Command): Promise<void> {
  try {
    await run(command, process.argv.slice(2));
  } catch (error) {
    report(name, error);
  }
}
