// Where words lie, in pixels of what the words' box scrolls. Asked of the browser once for each layout, not for each choice.

import { bisector } from "d3";

export interface Point {
  x: number;
  y: number;
}

export interface Places {
  /** Of all of them. */
  width: number;
  height: number;
  /** Where lines to and from a word begin and end. */
  query: (index: number) => Point;
  key: (index: number) => Point;
  /** How high arcs may be. */
  rise: number;
  /** The keys whose words reach into these heights: from the first up to, not including, the last. */
  within: (top: number, bottom: number) => [first: number, last: number];
}

/** Two lists side by side, of words of one height. */
export function placesInColumns(queries: HTMLElement, keys: HTMLElement): Places {
  const height = (queries.firstElementChild as HTMLElement).offsetHeight;
  const top = queries.offsetTop;
  const [left, right] = [queries.offsetLeft + queries.offsetWidth + 4, keys.offsetLeft - 6];
  const middle = (index: number): number => top + (index + 0.5) * height;
  const count = keys.children.length;
  return {
    width: keys.offsetLeft + keys.offsetWidth,
    height: top + Math.max(queries.offsetHeight, keys.offsetHeight),
    query: (index) => ({ x: left, y: middle(index) }),
    key: (index) => ({ x: right, y: middle(index) }),
    rise: 0,
    within: (from, to) => [
      Math.min(count, Math.max(0, Math.floor((from - top) / height))),
      Math.min(count, Math.max(0, Math.ceil((to - top) / height))),
    ],
  };
}

/** One list as running text. */
export function placesInText(list: HTMLElement, rise: number): Places {
  const items = Array.from(list.children as HTMLCollectionOf<HTMLElement>, (item) => ({
    x: item.offsetLeft + item.offsetWidth / 2,
    y: item.offsetTop,
    bottom: item.offsetTop + item.offsetHeight,
  }));
  const place = (index: number): Point => items[index]!;
  return {
    width: list.offsetLeft + list.offsetWidth,
    height: list.offsetTop + list.offsetHeight,
    query: place,
    key: place,
    rise,
    within: (from, to) => [
      bisector(({ bottom }: { bottom: number }) => bottom).left(items, from),
      bisector(({ y }: Point) => y).right(items, to),
    ],
  };
}
