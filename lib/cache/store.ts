import type { Storage } from "../../binding.js";
import { attempt, deviceNumber, whenSettled } from "../device.js";
import type { FloatDType, StoredDType } from "../dtype.js";
import { native } from "../native.js";
import type { Placed } from "../layout.js";
import { storedCodes } from "../problem.js";
import type { View } from "../view.js";
import type { Rotation } from "./rope.js";

/** The numbers of a group of rows that are stored, in the order that native code reads them. */
export const storeFields = [
  "tokens",
  "heads",
  "dims",
  "pages",
  "pageSize",
  "fromDtype",
  "toDtype",
  "fromStorage",
  "fromOffset",
  "fromHeadStride",
  "fromRowStride",
  "fromColumnStride",
  "toStorage",
  "scalesStorage",
  "slotsStorage",
  "rotaryDim",
  "interleaved",
  "frequenciesStorage",
  "positionsStorage",
] as const;

/** Rows of a tensor that go to pages, [pages, heads, pageSize, dims]. */
export interface RowStore {
  readonly from: Placed;
  readonly tokens: number;
  readonly heads: number;
  readonly dims: number;
  readonly pages: number;
  readonly pageSize: number;
  readonly to: View;
  readonly toDtype: StoredDType;
  /** [pages, heads, pageSize], with int8. */
  readonly scales: View | undefined;
  /** The place of each token: page * pageSize + row. */
  readonly slots: Int32Array;
  readonly rotation: Rotation | undefined;
}

/** Stores rows before it returns (on a GPU: enqueues that). */
export function storeNow(stores: readonly RowStore[]): void {
  const { device, numbers, storages } = write(stores);
  attempt(() => native().storeSync(device, numbers, storages));
}

/** Stores rows off the event loop. */
export function storeLater(stores: readonly RowStore[]): Promise<void> {
  const { device, numbers, storages } = write(stores);
  return whenSettled((settled) => native().store(device, numbers, storages, settled));
}

function write(stores: readonly RowStore[]) {
  const storages: Storage[] = [];
  const add = (storage: Storage) => storages.push(storage) - 1;
  const numbers = new Float64Array(stores.length * storeFields.length);
  stores.forEach(({ from, to, scales, rotation, ...store }, i) => {
    const { view } = from;
    numbers.set(
      [
        store.tokens,
        store.heads,
        store.dims,
        store.pages,
        store.pageSize,
        storedCodes[view.dtype as FloatDType],
        storedCodes[store.toDtype],
        add(view.storage!.handle("key")),
        view.size === 0 ? 0 : view.offset,
        from.head,
        from.row,
        from.column,
        add(to.storage!.handle("cache")),
        scales === undefined ? 0 : add(scales.storage!.handle("cache")),
        add(store.slots),
        rotation?.dim ?? 0,
        rotation?.interleaved === true ? 1 : 0,
        rotation === undefined ? 0 : add(rotation.frequencies),
        rotation === undefined ? 0 : add(rotation.positions),
      ],
      i * storeFields.length,
    );
  });
  return { device: deviceNumber(stores[0]!.to.device), numbers, storages };
}
