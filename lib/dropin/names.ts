import { FoveaError } from "../errors.js";

/** What `attention` calls arguments that a function of ours has under other names. */
export type Names = Readonly<Record<string, string>>;

/** An error of `attention` that names an argument, as one that says it by our name. */
export function renamed(error: unknown, names: Names): unknown {
  if (!(error instanceof FoveaError)) return error;
  const [name = ""] = /^\w+/.exec(error.message) ?? [];
  if (!Object.hasOwn(names, name)) return error;
  return new FoveaError(error.code, `${names[name]!}${error.message.slice(name.length)}`, { cause: error });
}

/** What `call` does, with its errors renamed. */
export async function withNames<T>(names: Names, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw renamed(error, names);
  }
}
