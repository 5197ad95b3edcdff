/** FNV-1a (Fowler, Noll, Vo) of a name, from a seed on. */
export function seedOf(seed: number, what: string): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < what.length; i++) hash = Math.imul(hash ^ what.charCodeAt(i), 0x01000193) >>> 0;
  return hash;
}
