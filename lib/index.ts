export { attention, attentionSync, explain } from "./attention.js";
export { AttentionBatcher } from "./batcher/batcher.js";
export type { BatcherOptions } from "./batcher/batcher.js";
export type { BatcherMetrics, Summary } from "./batcher/metrics.js";
export { PagedKVCache } from "./cache/cache.js";
export type { CacheStatistics } from "./cache/cache.js";
export type { AppendOptions, AttendOptions, PagedKVCacheOptions } from "./cache/options.js";
export type { Rope } from "./cache/rope.js";
export { CacheSequence } from "./cache/sequence.js";
export { devices, setThreads, streamHandle, synchronize } from "./device.js";
export type { CpuDevice, CudaDevice, Device, DeviceInfo, UnavailableDevice } from "./device.js";
export type { DataOf, DType, Float16ArrayLike, FloatDType, StoredDType } from "./dtype.js";
export { FoveaError } from "./errors.js";
export type { FoveaErrorCode } from "./errors.js";
export type { FloatDTypeOf, ShapeInput, TensorInput, TensorLike } from "./input.js";
export { mergeAttention, mergeAttentionSync } from "./merge.js";
export type { AttentionPart, MergeOptions, MergeResult } from "./merge.js";
export type {
  Algorithm,
  AttentionOptions,
  AttentionResult,
  ExplainOptions,
  IntegerInput,
  KnownOptions,
  Layout,
  ScoreStage,
  VectorInput,
} from "./options.js";
export type { Plan, PlanPart } from "./plan.js";
export type { Distribution } from "./random.js";
export { referenceAttention } from "./reference.js";
export type { ReferenceResult } from "./reference.js";
export { Tensor } from "./tensor.js";
export type { RandomOptions, TensorOptions } from "./tensor.js";
