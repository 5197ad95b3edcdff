// jax-js's einsum, and so its attention, maps and filters iterators, which Node can from 22 on.
type Call = (this: Iterable<unknown>, call: (value: unknown) => unknown) => IterableIterator<unknown>;
const prototype = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]())) as {
  map?: Call;
  filter?: Call;
};

prototype.map ??= function* (change) {
  for (const value of this) yield change(value);
};
prototype.filter ??= function* (keep) {
  for (const value of this) if (keep(value)) yield value;
};
