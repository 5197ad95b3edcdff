/** Which pages are free and how many sequences hold each of the others. Everything is O(1) per page. */
export class PagePool {
  readonly #holders: Int32Array;
  /** A stack: pages that were used last are used again first, while they are still in a cache of the processor. */
  readonly #free: Int32Array;
  #freeCount: number;
  #shared = 0;

  constructor(pages: number) {
    this.#holders = new Int32Array(pages);
    this.#free = Int32Array.from({ length: pages }, (_, i) => pages - 1 - i);
    this.#freeCount = pages;
  }

  get free(): number {
    return this.#freeCount;
  }

  /** Pages that more than one sequence holds. */
  get shared(): number {
    return this.#shared;
  }

  holders(page: number): number {
    return this.#holders[page]!;
  }

  /** A free page, held once. There must be one. */
  take(): number {
    const page = this.#free[--this.#freeCount]!;
    this.#holders[page] = 1;
    return page;
  }

  hold(page: number): void {
    if (++this.#holders[page]! === 2) this.#shared++;
  }

  release(page: number): void {
    const left = --this.#holders[page]!;
    if (left === 1) this.#shared--;
    if (left === 0) this.#free[this.#freeCount++] = page;
  }
}
