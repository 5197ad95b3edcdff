// The page of renderAttention in a real browser, opened from disk, on the attention of a trained encoder.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { renderAttention, type AttentionMap } from "../../lib/maps.js";
import { Encoder } from "../../lib/encoder/encoder.js";
import { textMap } from "../../lib/encoder/map.js";
import { hasBrowser, launchBrowser } from "../support/browser.js";

const sentence = "The cat sat on the mat because it was tired.";
const hostile = "</script><img src=x onerror=\"document.title='taken'\">";
const folder = mkdtempSync(path.join(tmpdir(), "fovea-page-"));
/** Screenshots to look at stay where this says. */
const shots = process.env["FOVEA_SHOTS"] ?? folder;

let browser: Browser;
let complaints: string[] = [];
let asked: string[] = [];

async function open(name: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 }, ...options });
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => asked.push(request.url()));
  await page.goto(pathToFileURL(path.join(folder, `${name}.html`)).href);
  return page;
}

const write = (name: string, map: AttentionMap): void =>
  writeFileSync(path.join(folder, `${name}.html`), renderAttention(map));

/** Weights of `heads` heads, each row with a peak that wanders. */
const madeUp = (heads: number, queries: number, keys: number): number[][][] =>
  Array.from({ length: heads }, (_, head) =>
    Array.from({ length: queries }, (_, query) => {
      const row = Array.from({ length: keys }, (_, key) => Math.exp(-Math.abs(key - ((query + head) % keys))));
      const sum = row.reduce((total, weight) => total + weight, 0);
      return row.map((weight) => weight / sum);
    }),
  );

/** The lines that are drawn, strongest first. */
const linesOf = (page: Page): Promise<{ layer: number; head: number; key: number; weight: number; width: number }[]> =>
  page.locator(".lines path").evaluateAll((paths) =>
    paths
      .map((line) => {
        const { layer, head, key, weight } = (line as SVGElement).dataset;
        const width = Number(line.getAttribute("stroke-width"));
        return { layer: Number(layer), head: Number(head), key: Number(key), weight: Number(weight), width };
      })
      .sort((a, b) => b.weight - a.weight),
  );

const chosen = (page: Page): Promise<string> => page.locator("[aria-selected=true][role=option]").innerText();
const told = (page: Page): Promise<string> => page.locator("[role=status]").innerText();

describe.skipIf(!hasBrowser)("the page", () => {
  let words: string[];

  beforeAll(async () => {
    const encoder = await Encoder.load();
    const map = await textMap(encoder, sentence, false);
    words = [...map.tokens];
    write("cat", map);
    write("cross", {
      tokens: ["The", "cat", "sat", hostile],
      queryTokens: ["Le", "chat", "dort"],
      title: hostile,
      layers: [{ name: hostile, weights: madeUp(12, 3, 4) }],
    });
    const many = Array.from({ length: 400 }, (_, index) => `word${index}`);
    write("long", { tokens: many, layers: [{ name: "Layer 1", weights: madeUp(4, 400, 400) }] });
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    const others = asked.splice(0).filter((url) => !/^file:.*\.html$/.test(url));
    const all = [...complaints.splice(0), ...others.map((url) => `asked for ${url}`)];
    if (all.length > 0) throw new Error(`the page complains: ${all.join("; ")}`);
  });

  test('one head of the second layer sends "it" to "cat", another to "tired"', async () => {
    const page = await open("cat");
    await page.getByRole("button", { name: "Layer 2" }).click();
    await page.getByRole("button", { name: "Layer 1" }).click();
    await page.getByRole("option", { name: "it", exact: true }).click();
    const lines = await linesOf(page);
    const strongest = (word: string) => lines.find(({ key }) => words[key] === word)!;
    const [cat, tired] = [strongest("cat"), strongest("tired")];
    for (const [line, weight] of [
      [cat, 0.59],
      [tired, 0.71],
    ] as const) {
      expect(line.weight).toBeCloseTo(weight, 2);
      expect(line.layer).toBe(1);
      const [first, second] = lines.filter(({ head }) => head === line.head);
      expect(first).toEqual(line); // the strongest of its head,
      expect(first!.width).toBeGreaterThan(second!.width); // and the thickest
    }
    expect(cat.head).not.toBe(tired.head);
    expect(await told(page)).toContain(`head ${cat.head + 1}: “cat” 0.59`);
    await page.getByText("“it” attends to").waitFor();
  });

  test("heads and layers are switched on and off", async () => {
    const page = await open("cat");
    const seen = async (): Promise<[layers: number[], heads: number[]]> => {
      const lines = await linesOf(page);
      const sorted = (numbers: number[]): number[] => [...new Set(numbers)].sort((a, b) => a - b);
      return [sorted(lines.map(({ layer }) => layer)), sorted(lines.map(({ head }) => head))];
    };
    const press = (name: string): Promise<void> => page.getByRole("button", { name, exact: true }).click();
    expect(await seen()).toEqual([[0], [0, 1, 2, 3]]);
    await press("Layer 2");
    expect(await seen()).toEqual([
      [0, 1],
      [0, 1, 2, 3],
    ]);
    expect(await page.locator(".lines path[data-layer='1']").first().getAttribute("stroke-dasharray")).not.toBeNull();
    await press("Head 2");
    expect((await seen())[1]).toEqual([0, 2, 3]);
    expect(await page.getByRole("button", { name: "Head 2" }).getAttribute("aria-pressed")).toBe("false");
    await press("None heads");
    expect(await seen()).toEqual([[], []]);
    expect(await told(page)).toContain("no head is switched on");
    await press("All heads");
    expect((await seen())[1]).toEqual([0, 1, 2, 3]);
    const colours = await page
      .locator(".lines path")
      .evaluateAll((all) => all.map((line) => line.getAttribute("stroke")));
    expect(new Set(colours).size).toBe(4);
  });

  test("with the keyboard alone", async () => {
    const page = await open("cat");
    const focused = (): Promise<string | null> => page.evaluate(() => document.activeElement!.textContent);
    const tabTo = async (text: string): Promise<void> => {
      for (let step = 0; step < 40 && (await focused()) !== text; step++) await page.keyboard.press("Tab");
      expect(await focused()).toBe(text);
    };
    await tabTo("Layer 2");
    await page.keyboard.press("Space");
    await tabTo(await chosen(page));
    await page.keyboard.press("Home");
    for (let step = 0; step < words.indexOf("it"); step++) await page.keyboard.press("ArrowDown");
    expect(await chosen(page)).toBe("it");
    expect(await focused()).toBe("it");
    expect(await told(page)).toMatch(/^“it” attends most to: .*Layer 2, head \d: “cat” 0\.59/);

    await page.keyboard.press("Shift+Tab");
    await page.locator("#tab-words").focus();
    await page.keyboard.press("ArrowRight");
    expect(await focused()).toBe("Matrix");
    await page.keyboard.press("Tab");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowRight");
    expect(await page.getByRole("heading", { level: 2 }).innerText()).toBe("Layer 2, head 2");
    await page.keyboard.press("Tab");
    for (let step = 0; step < words.length; step++) await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("ArrowRight");
    expect(await told(page)).toMatch(/^“it” to “cat”: \S+$/);

    await page.locator("#tab-matrix").focus();
    await page.keyboard.press("ArrowRight");
    await tabTo("Entropyin nats; 0 looks at one word");
    await page.keyboard.press("Enter");
    const entropies = (await page.locator("td:nth-child(2)").allInnerTexts()).map(Number);
    expect(entropies).toHaveLength(8);
    expect(entropies).toEqual(entropies.toSorted((a, b) => b - a));
    expect(await page.locator("th.sortable").first().getAttribute("aria-sort")).toBe("descending");
  });

  test("the matrix tells what is under the pointer; statistics lead to it", async () => {
    const page = await open("cat");
    await page.getByRole("tab", { name: "Statistics" }).click();
    await page.getByText("Weights are not explanations").waitFor();
    await page.getByRole("button", { name: "Layer 2, head 3" }).click();
    expect(await page.getByRole("radio", { checked: true }).getAttribute("aria-label")).toBe("Layer 2, head 3");
    const canvas = page.locator(".large canvas");
    const { width, height } = (await canvas.boundingBox())!;
    await canvas.hover({ position: { x: width - 10, y: height - 10 } });
    expect(await page.locator(".tip").innerText()).toMatch(/^\. → \.\n[\d.e-]+$/);
    await canvas.click({ position: { x: width - 10, y: height - 10 } });
    expect(await told(page)).toMatch(/^“\.” to “\.”: /);
    expect(await page.locator(".tip").isVisible()).toBe(true);
    await page.mouse.move(2, 2);
    expect(await page.locator(".tip").isVisible()).toBe(false);
    // The darkest pixel of a small map is where its largest weight is: something was painted.
    const shades = await page.locator("[role=radio] canvas").evaluateAll((all) =>
      all.map((one) => {
        const { data } = (one as HTMLCanvasElement).getContext("2d")!.getImageData(0, 0, 60, 60);
        return new Set(data).size;
      }),
    );
    expect(shades).toHaveLength(8);
    for (const count of shades) expect(count).toBeGreaterThan(10);
  });

  test("the sentence once, with arcs", async () => {
    const page = await open("cat");
    await page.getByRole("button", { name: "Show the sentence once" }).click();
    expect(await page.locator(".words li").count()).toBe(words.length);
    await page.getByRole("option", { name: "mat" }).click();
    await page.keyboard.press("ArrowLeft");
    expect(await chosen(page)).toBe("the");
    expect((await linesOf(page)).length).toBeGreaterThan(4);
  });

  test("source beside target; a hostile token stays text", async () => {
    const page = await open("cross");
    expect(await page.locator(".queries li").allInnerTexts()).toEqual(["Le", "chat", "dort"]);
    expect(await page.locator(".keys li").allInnerTexts()).toEqual(["The", "cat", "sat", hostile]);
    await page.getByRole("option", { name: "dort" }).click();
    const [strongest] = (await linesOf(page)).filter(({ head }) => head === 1);
    expect(strongest!.key).toBe(3);
    expect(await page.locator("img").count()).toBe(0);
    expect(await page.title()).toBe(hostile);
    expect(await page.getByRole("heading", { level: 1 }).innerText()).toBe(hostile);
    expect(await page.getByRole("button", { name: "Show the sentence once" }).count()).toBe(0);
    // Twelve heads, but eight colours: so many are on at first.
    expect(await page.locator(".head[aria-pressed=true]").count()).toBe(8);
    await page.getByRole("tab", { name: "Statistics" }).click();
    expect(await page.locator("th.sortable").allInnerTexts()).toHaveLength(3);
  });

  test("hundreds of words: a choice is drawn at once, lines are few, the chosen word is in sight", async () => {
    const page = await open("long");
    expect(await page.locator(".words.once").count()).toBe(1);
    await page.getByRole("option", { name: "word3", exact: true }).click();
    await page.keyboard.press("End");
    expect(await chosen(page)).toBe("word399");
    const box = (await page.locator("[aria-selected=true][role=option]").boundingBox())!;
    expect(box.y).toBeGreaterThan(0);
    expect(box.y).toBeLessThan(800);
    // Lines are on a canvas that shows what is in sight: they move as the words scroll.
    const lines = page.locator("canvas.lines");
    const [width, height] = [await lines.getAttribute("width"), await lines.getAttribute("height")].map(Number);
    expect(width! * height!).toBeLessThan(1280 * 800);
    const count = async (): Promise<number> => Number(await lines.getAttribute("data-lines"));
    const picture = (): Promise<string> => lines.evaluate((canvas) => (canvas as HTMLCanvasElement).toDataURL());
    const cells = (word: string): Promise<string> =>
      page
        .locator(".words li", { hasText: new RegExp(`^${word}$`) })
        .locator(".strip")
        .evaluate((strip) => (strip as HTMLElement).style.background);
    expect(await count()).toBeGreaterThan(4);
    expect(await count()).toBeLessThanOrEqual(500);
    // What scrolls is painted with the next frame, which a busy machine is slow to make.
    await expect.poll(() => cells("word399")).toContain("gradient");
    const atTheEnd = await picture();
    await page.locator(".words").evaluate((box) => box.scrollTo(0, 0));
    await expect.poll(picture).not.toBe(atTheEnd);
    await page.getByRole("button", { name: "Show the sentence twice" }).click();
    expect(await count()).toBeGreaterThan(4);
    expect(await cells("word0")).toBe(""); // far out of sight
    await page.screenshot({ path: path.join(shots, "long.png") });
    await page.getByRole("tab", { name: "Matrix" }).click();
    await page.locator(".large canvas").waitFor();
  });

  test.each([
    [1280, "light"],
    [1280, "dark"],
    [400, "light"],
    [400, "dark"],
  ] as const)("at %i pixels, %s, nothing is wider than the window", async (width, colorScheme) => {
    const page = await open("cat", { viewport: { width, height: 800 }, colorScheme });
    const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    expect(ground).toBe(colorScheme === "light" ? "rgb(251, 251, 252)" : "rgb(20, 23, 28)");
    for (const view of ["words", "matrix", "statistics"]) {
      await page.locator(`#tab-${view}`).click();
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
      await page.screenshot({ path: path.join(shots, `${view}-${width}-${colorScheme}.png`), fullPage: true });
    }
    await page.getByRole("button", { name: /^Show in (light|dark) colours$/ }).click();
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)).not.toBe(ground);
  });

  test("prints in light colours, without what is to press", async () => {
    const page = await open("cat", { colorScheme: "dark" });
    expect((await page.pdf()).length).toBeGreaterThan(10_000);
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    expect(await page.getByRole("tablist").isVisible()).toBe(false);
    expect(await page.locator("h1").evaluate((title) => getComputedStyle(title).color)).toBe("rgb(27, 31, 36)");
    expect(await page.locator("body").evaluate((body) => body.getBoundingClientRect().width)).toBe(700);
    await page.screenshot({ path: path.join(shots, "paper.png"), fullPage: true });
    await page.evaluate(() => dispatchEvent(new Event("afterprint")));
    expect(await page.getByRole("tablist").isVisible()).toBe(true);
  });
});
