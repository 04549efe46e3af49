import { describe, expect, it } from "vitest";
import type { ServiceEdge } from "../api/jaeger";
import { readAttributes } from "../lib/search";
import { layOutMap } from "../lib/service-map";

function call(client: string, server: string, calls = 1): ServiceEdge {
  return { client, server, calls, errors: 0, p50Ms: null, p95Ms: null };
}

function layersOf(edges: readonly ServiceEdge[]): Record<string, number> {
  return Object.fromEntries(layOutMap({ truncated: false, nodes: [], edges }).nodes.map(({ service, layer }) => [service, layer]));
}

describe("the service map", () => {
  it("puts callers left of what they call, by the longest way", () => {
    expect(layersOf([call("a", "b"), call("b", "c"), call("a", "c")])).toEqual({ a: 0, b: 1, c: 2 });
  });

  it("cuts a cycle at its rarest call and still draws every call", () => {
    const edges = [call("a", "b", 100), call("b", "a", 3)];
    expect(layersOf(edges)).toEqual({ a: 0, b: 1 });
    expect(layOutMap({ truncated: false, nodes: [], edges }).edges).toHaveLength(2);
  });

  it("shows a service that calls nobody, and no call to itself", () => {
    const node = { service: "alone", requests: 1, errors: 0, p50Ms: null, p95Ms: null };
    const layout = layOutMap({ truncated: false, nodes: [node], edges: [call("alone", "alone")] });
    expect(layout.nodes.map(({ service }) => service)).toEqual(["alone"]);
    expect(layout.edges).toEqual([]);
  });

  it("lets no two boxes touch", () => {
    const edges = ["b", "c", "d"].flatMap((to) => [call("a", to), call(to, "e")]);
    const places = layOutMap({ truncated: false, nodes: [], edges }).nodes.map(({ x, y }) => `${x} ${y}`);
    expect(new Set(places).size).toBe(5);
  });
});

describe("attributes of a trace search", () => {
  it.each([
    ["status=500", { status: "500" }],
    ['a="x y" b=2', { a: "x y", b: "2" }],
    ['a="say \\"hi\\""', { a: 'say "hi"' }],
    ["a=b=c", { a: "b=c" }],
    ["", {}],
  ])("%s", (text, attributes) => expect(readAttributes(text)).toEqual({ attributes, unread: [] }));

  it("says which word it could not read", () => expect(readAttributes("a=1 lonely").unread).toEqual(["lonely"]));
});
