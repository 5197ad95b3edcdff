// Numbers as people read them.

const scaled = (value: number, step: number, units: readonly string[]): string => {
  let unit = 0;
  while (Math.abs(value) >= step && unit < units.length - 1) {
    value /= step;
    unit++;
  }
  return `${value >= 100 || value === 0 ? value.toFixed(0) : value.toPrecision(2 + Number(value >= 10))} ${units[unit]!}`;
};

export const bytes = (count: number): string => scaled(count, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);
export const seconds = (time: number): string => scaled(time * 1e6, 1000, ["µs", "ms", "s"]);
/** 512, 1k, 2k, …: tokens come in powers of two. */
export const tokens = (count: number): string =>
  count >= 1024 && count % 1024 === 0 ? `${count / 1024}k` : `${count}`;
