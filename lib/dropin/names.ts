import { FoveaError } from "../errors.js";

/** What `attention` calls arguments that a function of ours has under other names. */
export type Names = Readonly<Record<string, string>>;

/** An error of `attention` that names an argument (and another that it is to be like) as one that says them by our names. */
export function renamed(error: unknown, names: Names): unknown {
  if (!(error instanceof FoveaError)) return error;
  const ours = (name: string): string => (Object.hasOwn(names, name) ? names[name]! : name);
  const message = error.message.replace(/^\w+/, ours).replace(/(?<=" as in |", where )\w+/, ours);
  return message === error.message ? error : new FoveaError(error.code, message, { cause: error });
}

/** What `call` does, with its errors renamed. */
export async function withNames<T>(names: Names, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw renamed(error, names);
  }
}
