/** Which pages are free and how many sequences hold each of the others. Everything is O(1) per page. */
export class PagePool {
  readonly #holders: Int32Array;
  /** A stack: pages that were used last are used again first, while they are still in a cache of the processor. */
  readonly #returned: Int32Array;
  #returnedCount = 0;
  /** Pages from here on were never used. */
  #unused = 0;
  #shared = 0;

  constructor(pages: number) {
    this.#holders = new Int32Array(pages);
    this.#returned = new Int32Array(pages);
  }

  get free(): number {
    return this.#returnedCount + this.#holders.length - this.#unused;
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
    const page = this.#returnedCount > 0 ? this.#returned[--this.#returnedCount]! : this.#unused++;
    this.#holders[page] = 1;
    return page;
  }

  hold(page: number): void {
    if (++this.#holders[page]! === 2) this.#shared++;
  }

  release(page: number): void {
    const left = --this.#holders[page]!;
    if (left === 1) this.#shared--;
    if (left === 0) this.#returned[this.#returnedCount++] = page;
  }
}
