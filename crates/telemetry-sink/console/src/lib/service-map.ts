// Lays a service graph out in layers, callers left of what they call: longest path from the callers, cycles cut
// where they close, and each layer ordered by the middle of its neighbours so that few edges cross.

import type { ServiceEdge, ServiceGraph } from "../api/jaeger";

export interface Placed {
  readonly service: string;
  readonly layer: number;
  readonly row: number;
  /** Of the middle, in pixels. */
  readonly x: number;
  readonly y: number;
}

export interface Drawn {
  readonly edge: ServiceEdge;
  readonly path: string;
  readonly labelX: number;
  readonly labelY: number;
  /** The label ends at that place, rather than lying around it. */
  readonly before: boolean;
}

export interface MapLayout {
  readonly nodes: readonly Placed[];
  readonly edges: readonly Drawn[];
  readonly width: number;
  readonly height: number;
}

const NODE_WIDTH = 186;
const NODE_HEIGHT = 70;
const GAP_X = 132;
const GAP_Y = 34;
/** Of the way that a long edge takes between the boxes of a layer. */
const LANE = 26;
/** Below all boxes, for calls back. */
const BACK = 34;
const LABEL_HEIGHT = 22;
const LABEL_WIDTH = 112;
/** Between a label and the box that its edge leads to: room for the arrow. */
const LABEL_MARGIN = 18;
const MARGIN = 16;
const SWEEPS = 4;

export const NODE = { width: NODE_WIDTH, height: NODE_HEIGHT } as const;

export function layOutMap(graph: ServiceGraph): MapLayout {
  const names = [...new Set([...graph.nodes.map(({ service }) => service), ...graph.edges.flatMap(ends)])].sort();
  const calls = graph.edges.filter(({ client, server }) => client !== server);
  const forward = withoutCycles(names, calls);
  const layerOf = layers(names, forward);
  const lanes = lanesOf(forward, layerOf);
  const columns = ordered(names, forward, layerOf, lanes);
  const back = calls.some(({ client, server }) => (layerOf.get(server) ?? 0) <= (layerOf.get(client) ?? 0));
  const inner = Math.max(NODE_HEIGHT, ...columns.map(columnHeight));
  const height = MARGIN * 2 + inner + (back ? BACK : 0);
  const places = new Map(columns.flatMap((column, layer) => stacked(column, layer, MARGIN + inner / 2)));
  const edges = calls.flatMap((edge) => {
    const [from, to] = [places.get(edge.client), places.get(edge.server)];
    if (!from || !to) return [];
    if (to.layer <= from.layer) return [drawBack(edge, from, to, height - MARGIN)];
    const via = (lanes.get(edge) ?? []).flatMap((lane) => places.get(lane) ?? []);
    return [draw(edge, from, via, to)];
  });
  const width = MARGIN * 2 + columns.length * NODE_WIDTH + Math.max(0, columns.length - 1) * GAP_X;
  const nodes = names.flatMap((name) => places.get(name) ?? []);
  return { nodes, edges: apart(edges), width, height };
}

const isLane = (name: string): boolean => name.startsWith("\u0000");
const heightOf = (name: string): number => (isLane(name) ? LANE : NODE_HEIGHT);

function columnHeight(column: readonly string[]): number {
  return column.reduce((sum, name) => sum + heightOf(name), 0) + Math.max(0, column.length - 1) * GAP_Y;
}

function stacked(column: readonly string[], layer: number, middle: number): (readonly [string, Placed])[] {
  let top = middle - columnHeight(column) / 2;
  return column.map((service, row) => {
    const y = top + heightOf(service) / 2;
    top += heightOf(service) + GAP_Y;
    return [service, { service, layer, row, x: MARGIN + NODE_WIDTH / 2 + layer * (NODE_WIDTH + GAP_X), y }];
  });
}

/** Places of their own, in the layers between, for the edges that pass them: no edge runs behind a box. */
function lanesOf(edges: readonly ServiceEdge[], layerOf: ReadonlyMap<string, number>): Map<ServiceEdge, string[]> {
  return new Map(
    edges.map((edge) => {
      const [from, to] = [layerOf.get(edge.client) ?? 0, layerOf.get(edge.server) ?? 0];
      const between = Array.from({ length: Math.max(0, to - from - 1) }, (_, at) => from + 1 + at);
      return [edge, between.map((layer) => `\u0000${layer}\u0000${edge.client}\u0000${edge.server}`)];
    }),
  );
}

/** Labels that would cover each other move down. */
function apart(edges: readonly Drawn[]): Drawn[] {
  const placed: Drawn[] = [];
  for (const drawn of [...edges].sort((left, right) => left.labelY - right.labelY)) {
    let labelY = drawn.labelY;
    for (const other of placed) {
      const near = Math.abs(other.labelX - drawn.labelX) < LABEL_WIDTH && Math.abs(other.labelY - labelY) < LABEL_HEIGHT;
      if (near) labelY = other.labelY + LABEL_HEIGHT;
    }
    placed.push({ ...drawn, labelY });
  }
  return placed;
}

function ends({ client, server }: ServiceEdge): string[] {
  return [client, server];
}

/** Drops the edges that close a cycle, busiest calls kept first, so that what is left has layers. */
function withoutCycles(names: readonly string[], calls: readonly ServiceEdge[]): ServiceEdge[] {
  const kept: ServiceEdge[] = [];
  const next = new Map<string, string[]>(names.map((name) => [name, []]));
  const reaches = (from: string, to: string): boolean => {
    const seen = new Set<string>();
    const pending = [from];
    for (let at = pending.pop(); at !== undefined; at = pending.pop()) {
      if (at === to) return true;
      if (seen.has(at)) continue;
      seen.add(at);
      pending.push(...(next.get(at) ?? []));
    }
    return false;
  };
  for (const edge of [...calls].sort((left, right) => right.calls - left.calls)) {
    if (reaches(edge.server, edge.client)) continue;
    kept.push(edge);
    next.get(edge.client)?.push(edge.server);
  }
  return kept;
}

function layers(names: readonly string[], edges: readonly ServiceEdge[]): Map<string, number> {
  const layer = new Map(names.map((name) => [name, 0]));
  // Without cycles no path is longer than there are services.
  for (let round = 0; round < names.length; round += 1) {
    let moved = false;
    for (const { client, server } of edges) {
      const wanted = (layer.get(client) ?? 0) + 1;
      if ((layer.get(server) ?? 0) < wanted) {
        layer.set(server, wanted);
        moved = true;
      }
    }
    if (!moved) break;
  }
  return layer;
}

function ordered(
  names: readonly string[],
  edges: readonly ServiceEdge[],
  layerOf: ReadonlyMap<string, number>,
  lanes: ReadonlyMap<ServiceEdge, readonly string[]>,
): string[][] {
  const count = Math.max(0, ...layerOf.values()) + 1;
  const laneLayer = (lane: string): number => Number(lane.split("\u0000")[1]);
  let columns = Array.from({ length: count }, (_, layer) => [
    ...names.filter((name) => layerOf.get(name) === layer),
    ...[...lanes.values()].flat().filter((lane) => laneLayer(lane) === layer),
  ]);
  const steps = edges.flatMap((edge) => {
    const way = [edge.client, ...(lanes.get(edge) ?? []), edge.server];
    return way.slice(1).map((to, at) => [way[at] ?? "", to] as const);
  });
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const rows = new Map(columns.flatMap((column) => column.map((name, row) => [name, row - (column.length - 1) / 2] as const)));
    const middle = (name: string): number => {
      const near = steps.flatMap(([from, to]) => (from === name ? [to] : to === name ? [from] : []));
      return near.length === 0 ? 0 : near.reduce((sum, one) => sum + (rows.get(one) ?? 0), 0) / near.length;
    };
    columns = columns.map((column) => column.map((name) => [name, middle(name)] as const).sort(byMiddle).map(([name]) => name));
  }
  return columns;
}

function byMiddle(left: readonly [string, number], right: readonly [string, number]): number {
  return left[1] - right[1] || (left[0] < right[0] ? -1 : 1);
}

function draw(edge: ServiceEdge, from: Placed, via: readonly Placed[], to: Placed): Drawn {
  const half = NODE_WIDTH / 2;
  let [x, y] = [from.x + half, from.y];
  let path = `M${x},${y}`;
  const curve = (toX: number, toY: number): void => {
    const bend = (toX - x) / 2;
    path += ` C${x + bend},${y} ${toX - bend},${toY} ${toX},${toY}`;
    [x, y] = [toX, toY];
  };
  for (const lane of via) {
    curve(lane.x - half, lane.y);
    path += ` L${lane.x + half},${lane.y}`;
    x = lane.x + half;
  }
  // Beside the box it leads to: edges part there, while near the caller they lie upon each other.
  const label = { labelX: to.x - half - LABEL_MARGIN, labelY: to.y, before: true };
  curve(to.x - half - 7, to.y);
  return { edge, path, ...label };
}

/** A call back runs below the boxes. */
function drawBack(edge: ServiceEdge, from: Placed, to: Placed, down: number): Drawn {
  const [x1, x2] = [from.x - NODE_WIDTH / 4, to.x + NODE_WIDTH / 4];
  const [y1, y2] = [from.y + NODE_HEIGHT / 2, to.y + NODE_HEIGHT / 2 + 7];
  const path = `M${x1},${y1} C${x1},${down + 12} ${x1},${down} ${x1 - 30},${down} L${x2 + 30},${down} C${x2},${down} ${x2},${down + 12} ${x2},${y2}`;
  return { edge, path, labelX: (x1 + x2) / 2, labelY: down, before: false };
}
