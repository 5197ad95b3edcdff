import { FoveaError, show } from "../errors.js";

/** Inference has no dropout. */
export function refuseDropout(dropoutP: number | undefined): void {
  if (dropoutP === undefined || dropoutP === 0) return;
  const message = `dropoutP: expected 0, as fovea computes inference without dropout, got ${show(dropoutP)}`;
  throw new FoveaError("ERR_FOVEA_OPTION", message);
}
