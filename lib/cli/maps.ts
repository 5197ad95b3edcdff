// fovea maps: a page that shows what the words of a text attend to.

import { readFile, writeFile } from "node:fs/promises";
import { text } from "node:stream/consumers";
import { defineCommand } from "citty";
import { renderAttention, type AttentionMap } from "../maps/render.js";
import { UsageError, type Command } from "./command.js";
import { encoderPackages, needPackages } from "./peers.js";

export const maps: Command = defineCommand({
  meta: {
    name: "maps",
    description: "Writes a page that shows what the words of a text attend to, in a trained sentence encoder",
  },
  args: {
    text: { type: "positional", required: false, description: "the text, in English" },
    out: { type: "string", default: "attention.html", description: "the file to write" },
    title: { type: "string", description: "the page's title; by default the text" },
    pieces: { type: "boolean", default: false, description: "show the encoder's tokens, not the words they make up" },
    json: {
      type: "string",
      valueHint: "file",
      description:
        "show these weights instead: { tokens, queryTokens?, title?, layers: [{ name, weights }] }, weights as nested arrays " +
        "[heads][queries][keys] or { data, shape }; - is the standard input",
    },
  },
  async run({ args }) {
    const { text: sentence, json, title, out } = args;
    if ((sentence === undefined) === (json === undefined)) {
      throw new UsageError("expected a text, or --json FILE, and not both");
    }
    const map = json === undefined ? await encode(sentence!, args.pieces) : await read(json);
    const html = renderAttention(title === undefined ? map : { ...map, title });
    await writeFile(out, html);
    console.log(`wrote ${out}`);
  },
});

async function encode(text: string, pieces: boolean): Promise<AttentionMap> {
  if (text.trim() === "") throw new UsageError("the text is empty");
  needPackages("the encoder of fovea maps", encoderPackages);
  const [{ Encoder }, { textMap }] = await Promise.all([import("../encoder/encoder.js"), import("../encoder/map.js")]);
  const encoder = await Encoder.load();
  return textMap(encoder, text, pieces);
}

async function read(file: string): Promise<AttentionMap> {
  const name = file === "-" ? "standard input" : file;
  const content = file === "-" ? await text(process.stdin) : await readFile(file, "utf8");
  try {
    return JSON.parse(content) as AttentionMap;
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`, { cause: error });
  }
}
