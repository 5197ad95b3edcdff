// A model's graph with fovea's op in place of its attention.
import { io } from "@tensorflow/tfjs-core";
import { checkDevice, type Device } from "../device.js";
import { FoveaError, show } from "../errors.js";
import { checkNames, flag, optionError } from "../rules.js";
import { Graph, nodeName, type GraphDef, type NodeDef } from "./graph.js";
import { matchAttention, type Match } from "./match.js";
import "./op.js"; // its ops are registered before the model is loaded
import { asyncAttentionOp, attentionOp, encodeProgram, encodeText, places, renumbered, shapeOp } from "./program.js";

/** What `tf.loadGraphModel` and `tf.loadGraphModelSync` take, or a model.json as an object. */
export type ModelSource =
  string | io.IOHandler | io.IOHandlerSync | io.ModelArtifacts | io.ModelJSON | readonly [io.ModelJSON, ArrayBuffer];

/** A URL becomes an IOHandler; everything else what it was. */
export type FusedSource<Source> = Source extends string ? io.IOHandler : Source;

export interface FuseOptions {
  /**
   * Whether the op gives a promise and computes off the event loop: the model must then be run by `executeAsync`. Default
   * false, which runs with `execute` and `predict` too.
   */
  async?: boolean | undefined;
  /** Nodes that must stay, since they will be asked for by name. (The model's outputs stay anyway.) Default: none. */
  keep?: readonly string[] | undefined;
  /** Where the op computes: a device of fovea's, to which its tensors are sent. Default "cpu". */
  device?: Device | undefined;
  /** How to load a URL: as `tf.loadGraphModel`'s options. */
  loadOptions?: io.LoadOptions | undefined;
}

/** What was done to a graph. */
export interface FuseReport {
  readonly fused: {
    /** The new node, named as the last of those that it replaces. */
    readonly node: string;
    readonly softmax: string;
    readonly replaced: readonly string[];
    /** The function that it is in (a branch of an If, the body of a While), if it is in one. */
    readonly function?: string;
  }[];
  /** Every other Softmax, and why nothing took its place. */
  readonly skipped: { readonly softmax: string; readonly reason: string; readonly function?: string }[];
}

export interface Fused<Source> {
  readonly source: FusedSource<Source>;
  readonly report: FuseReport;
}

const names = new Set(
  Object.keys({ async: true, keep: true, device: true, loadOptions: true } satisfies Record<keyof FuseOptions, true>),
);

/**
 * Finds attention, softmax(q·kᵀ · scale + bias)·v, in a graph as converters write it, and puts one op of fovea's in place of each.
 * Nothing that is given is changed. Load what comes with `tf.loadGraphModel`; its outputs are the same but for rounding. A graph
 * without attention comes back as it was.
 *
 * Where shapes at run time are not those of attention after all (a scale per head, say), the op computes what the graph said
 * with TensorFlow.js.
 *
 * A fused model.json may be stored; to load it, `fovea/tfjs` must have been imported.
 */
export async function fuseAttention<Source extends ModelSource>(
  source: Source,
  options: FuseOptions = {},
): Promise<Fused<Source>> {
  checkOptions(options);
  const done = await fuseSource(source, options);
  return done as Fused<Source>;
}

function checkOptions(options: FuseOptions): void {
  checkNames("options", options, names);
  const { keep, device }: { keep?: unknown; device?: Device | undefined } = options;
  flag("async", options.async);
  if (keep !== undefined && !(Array.isArray(keep) && keep.every((name) => typeof name === "string"))) {
    throw optionError("keep", "an array of nodes' names", keep);
  }
  if (device !== undefined) checkDevice("device", device);
}

async function fuseSource(source: ModelSource, options: FuseOptions): Promise<Fused<ModelSource>> {
  if (typeof source === "string") return fuseHandler(handlerOf(source, options.loadOptions), options);
  if (Array.isArray(source)) {
    const [json, weights] = source as [io.ModelJSON, ArrayBuffer];
    const { model, report } = fuseModel(json, options);
    return { source: [model, weights], report };
  }
  if (typeof source === "object" && source !== null) {
    if ("load" in source && typeof source.load === "function") return fuseHandler(source, options);
    if ("modelTopology" in source) {
      const { model, report } = fuseModel(source, options);
      return { source: model, report };
    }
  }
  const wanted = "a URL, an IOHandler, model artifacts or a model.json's object";
  throw new FoveaError("ERR_FOVEA_ARGUMENT", `source: expected ${wanted}, got ${show(source)}`);
}

async function fuseHandler(
  handler: io.IOHandler | io.IOHandlerSync,
  options: FuseOptions,
): Promise<Fused<io.IOHandler>> {
  const loaded = handler.load!();
  const { model, report } = fuseModel(await loaded, options);
  const source = loaded instanceof Promise ? { load: () => Promise.resolve(model) } : { load: () => model };
  return { source: source as io.IOHandler, report };
}

function handlerOf(url: string, loadOptions: io.LoadOptions = {}): io.IOHandler {
  const [handler = io.browserHTTPRequest(url, loadOptions)] = io.getLoadHandlers(url, loadOptions);
  return handler;
}

interface Model {
  modelTopology?: unknown;
  signature?: unknown;
  userDefinedMetadata?: unknown;
}

function fuseModel<M extends Model>(model: M, options: FuseOptions): { model: M; report: FuseReport } {
  const topology = (model as M | undefined)?.modelTopology as Partial<GraphDef> | undefined;
  if (!Array.isArray(topology?.node)) {
    const wanted = "a graph model (modelTopology with nodes), which tf.loadGraphModel takes";
    throw new FoveaError("ERR_FOVEA_ARGUMENT", `source: expected ${wanted}, got ${show(topology)}`);
  }
  const kept = new Set([...(options.keep ?? []), ...outputsOf(model)]);
  const { graph, report } = fuseGraph(topology as GraphDef, kept, options);
  return { model: report.fused.length === 0 ? model : { ...model, modelTopology: graph }, report };
}

/** The nodes that a signature names as outputs. */
function outputsOf({ signature, userDefinedMetadata }: Model): string[] {
  const signatures = [signature, (userDefinedMetadata as { signature?: unknown } | undefined)?.signature];
  return signatures
    .flatMap((one) =>
      Object.values((one as { outputs?: Record<string, { name?: string }> } | undefined)?.outputs ?? {}),
    )
    .map(({ name = "" }) => nodeName(name));
}

function fuseGraph(
  def: GraphDef,
  kept: ReadonlySet<string>,
  options: FuseOptions,
): { graph: GraphDef; report: FuseReport } {
  const report: FuseReport = { fused: [], skipped: [] };
  const node = fuseNodes(def.node, kept, options, report);
  const functions = def.library?.function?.map((one) => {
    const outputs = new Set(Object.values(one.ret ?? {}).map(nodeName));
    const nodeDef = fuseNodes(one.nodeDef ?? [], outputs, options, report, one.signature?.name ?? "");
    return { ...one, nodeDef };
  });
  return { graph: { ...def, node, ...(functions && { library: { ...def.library, function: functions } }) }, report };
}

function fuseNodes(
  nodes: readonly NodeDef[],
  kept: ReadonlySet<string>,
  options: FuseOptions,
  report: FuseReport,
  ofFunction?: string,
): NodeDef[] {
  const graph = new Graph(nodes, kept);
  const gone = new Set<NodeDef>();
  const instead = new Map<NodeDef, NodeDef>();
  const where = ofFunction === undefined ? {} : { function: ofFunction };
  for (const softmax of nodes) {
    if (softmax.op !== "Softmax") continue;
    const match = matchAttention(graph, softmax);
    const shared = typeof match !== "string" && match.replaced.some((node) => gone.has(node));
    if (typeof match === "string" || shared) {
      const reason = typeof match === "string" ? match : "it shares nodes with another attention";
      report.skipped.push({ softmax: softmax.name, reason, ...where });
      continue;
    }
    for (const node of match.replaced) gone.add(node);
    instead.set(match.last, fusedNode(match, options));
    for (const shape of match.shapes) instead.set(shape.node, shapeNode(match, shape));
    const replaced = match.replaced.map(({ name }) => name);
    report.fused.push({ node: match.last.name, softmax: softmax.name, replaced, ...where });
  }
  return nodes.flatMap((each) => instead.get(each) ?? (gone.has(each) ? [] : [each]));
}

function fusedNode({ last, inputs, program }: Match, { async = false, device }: FuseOptions): NodeDef {
  return {
    name: last.name,
    op: async ? asyncAttentionOp : attentionOp,
    input: inputs,
    attr: {
      program: { s: encodeProgram(program) },
      name: { s: encodeText(Buffer.from(last.name).toString("hex")) },
      ...(device !== undefined && { device: { s: encodeText(checkDevice("device", device)) } }),
      ...(last.attr?.["T"] && { T: last.attr["T"] }),
    },
  };
}

function shapeNode({ inputs, program }: Match, { node, steps, after }: Match["shapes"][number]): NodeDef {
  const whole = { ...program, v: [], out: [] };
  const partial = { ...whole, steps: program.steps.slice(0, steps), after: program.after.slice(0, after) };
  const used = [0, 1, ...places(partial)];
  const own = renumbered(partial, (place) => used.indexOf(place));
  const input = used.map((place) => inputs[place]!);
  return { name: node.name, op: shapeOp, input, attr: { program: { s: encodeProgram(own) } } };
}
