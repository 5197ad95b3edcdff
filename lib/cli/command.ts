// What all commands share: strict arguments, and errors that say what to do.

import { parseArgs } from "node:util";
import type { ArgsDef, CommandDef } from "citty";

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
