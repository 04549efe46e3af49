import { describe, expect, it } from "vitest";
import { freeId, packed, unpacked } from "../api/dashboards";
import { parseDashboard, readDashboard, toneOf, type Variable } from "../lib/dashboard";
import { importGrafana, isGrafana } from "../lib/grafana";
import { chosenValues, filtered, interpolate, legendOf, variableQuery } from "../lib/variables";

const RANGE = { startMs: 0, endMs: 3_600_000 };

const files = import.meta.glob<unknown>("../../public/boards/*.json", { eager: true, import: "default" });
const shipped = Object.entries(files).filter(([path]) => !path.endsWith("index.json"));

describe("dashboards that ship", () => {
  it.each(shipped)("%s can be read, and no two panels overlap", (_, json) => {
    const read = readDashboard(json);
    if ("problem" in read) throw new Error(read.problem);
    const cells = new Set<string>();
    for (const { x, y, w, h, title } of read.dashboard.panels) {
      expect(x + w, title).toBeLessThanOrEqual(24);
      for (let column = x; column < x + w; column += 1) {
        for (let row = y; row < y + h; row += 1) {
          expect(cells.has(`${column} ${row}`), title).toBe(false);
          cells.add(`${column} ${row}`);
        }
      }
    }
  });

  it("are all in the list", () => {
    const listed = files["../../public/boards/index.json"] as readonly { id: string }[];
    expect(listed.map(({ id }) => `../../public/boards/${id}.json`).sort()).toEqual(shipped.map(([path]) => path).sort());
  });
});

describe("a dashboard that cannot be read says where", () => {
  it.each([
    ["[]", "the dashboard is no object"],
    ['{"version":2}', "version is not 1, which is the only one there is"],
    ['{"version":1,"panels":[],"title":""}', "title is missing"],
    ['{"version":1,"title":"x","panels":[{"kind":"pie"}]}', "panels[0].kind must be one of timeseries"],
    ['{"version":1,"title":"x","panels":[{"kind":"stat","w":25}]}', "panels[0].w must be a whole number from 1 to 24"],
    ['{"version":1,"title":"x","panels":[],"variables":[{"name":"a b"}]}', "variables[0].name must be"],
  ])("%s", (text, problem) => {
    const read = parseDashboard(text);
    expect("problem" in read && read.problem).toContain(problem);
  });
});

describe("variables", () => {
  const chosen = new Map([
    ["job", ["a.b", "c"]],
    ["one", ["x"]],
  ]);

  it.each([
    ['up{job=~"$job"}', 'up{job=~"(a\\\\.b|c)"}'],
    ['up{job="${one}"}', 'up{job="x"}'],
    ["${job:csv} [[one]] $unknown", "a.b,c x $unknown"],
    ["rate(x[$__rate_interval])", "rate(x[60s])"],
    ["x[$__range] $__interval ${__range_s}", "x[3600s] 15s 3600"],
  ])("%s", (text, expected) => expect(interpolate(text, chosen, RANGE, 15)).toBe(expected));

  it.each([
    ["label_values(job)", { kind: "values", label: "job", metric: "" }],
    ['label_values(up{a="b, c"}, job)', { kind: "values", label: "job", metric: 'up{a="b, c"}' }],
    ["metrics(^node_)", { kind: "metrics", pattern: "^node_" }],
    ["query_result(max(up))", { kind: "result", expression: "max(up)" }],
  ])("ask %s", (text, expected) => expect(variableQuery(text)).toEqual(expected));

  it("keep what their pattern matches, each once", () => {
    expect(filtered(["web-1", "web-2", "db-1"], "/^(web)-/")).toEqual(["web"]);
    expect(filtered(["a", "a"], "(")).toEqual(["a"]);
  });

  it("of all are all there are, and of none anything", () => {
    const variable: Variable = { name: "j", label: "", kind: "query", query: "", regex: "", options: [], multi: true, all: true, current: "" };
    expect(chosenValues(variable, ["a", "b"], null)).toEqual(["a", "b"]);
    expect(chosenValues(variable, [], null)).toEqual([".*"]);
    expect(chosenValues(variable, ["a", "b"], "b")).toEqual(["b"]);
  });

  it("name a series by its labels", () => expect(legendOf("{{job}} {{ le }}", { job: "a", le: "1" })).toBe("a 1"));
});

describe("an import from Grafana", () => {
  const exported = {
    schemaVersion: 39,
    title: "Node",
    templating: {
      list: [
        { type: "datasource", name: "ds" },
        { type: "query", name: "job", query: { query: "label_values(up, job)" }, includeAll: true, multi: true, current: { value: ["$__all"] } },
        { type: "interval", name: "step", query: "1m,5m", current: { value: "5m" } },
        { type: "adhoc", name: "filters" },
      ],
    },
    panels: [
      { type: "row", title: "Folded", gridPos: { x: 0, y: 0, w: 24, h: 1 }, panels: [{ type: "gauge", title: "In it", gridPos: { x: 0, y: 1, w: 6, h: 4 }, targets: [{ expr: "up" }] }] },
      {
        type: "timeseries",
        title: "CPU",
        gridPos: { x: 6, y: 1, w: 18, h: 8 },
        targets: [{ expr: "rate(x[5m])", legendFormat: "{{job}}" }, { expr: "hidden", hide: true }],
        fieldConfig: {
          defaults: {
            unit: "percentunit",
            max: 1,
            custom: { stacking: { mode: "normal" } },
            thresholds: { steps: [{ color: "green", value: null }, { color: "red", value: 0.8 }] },
          },
        },
      },
      { type: "geomap", title: "Where" },
    ],
  };

  it("is known by its schema, and not mistaken for one of ours", () => {
    expect(isGrafana(exported)).toBe(true);
    expect(isGrafana({ dashboard: exported })).toBe(true);
    expect(shipped.some(([, json]) => isGrafana(json))).toBe(false);
  });

  it("brings panels, units, stacking, thresholds and variables, and says what it leaves", () => {
    const { dashboard, notes } = importGrafana(exported);
    expect(dashboard.panels.map(({ kind, title }) => `${kind} ${title}`)).toEqual(["row Folded", "gauge In it", "timeseries CPU"]);
    expect(dashboard.panels[2]).toMatchObject({ unit: "ratio", stacked: true, max: 1, w: 18, queries: [{ expression: "rate(x[5m])" }] });
    expect(toneOf(dashboard.panels[2]?.thresholds ?? [], 0.9)).toBe("bad");
    expect(toneOf(dashboard.panels[2]?.thresholds ?? [], 0.1)).toBe("good");
    expect(dashboard.variables.map(({ name, kind, current }) => `${name} ${kind} ${current}`)).toEqual(["job query $__all", "step interval 5m"]);
    expect(notes).toHaveLength(2);
    expect("dashboard" in readDashboard(dashboard)).toBe(true);
  });

  it("reads the rows of old versions", () => {
    const old = { rows: [{ panels: [{ type: "graph", title: "a", span: 6 }, { type: "singlestat", title: "b", span: 6 }] }] };
    expect(importGrafana(old).dashboard.panels.map(({ kind, x, w }) => [kind, x, w])).toEqual([
      ["timeseries", 0, 12],
      ["stat", 12, 12],
    ]);
  });
});

describe("an address that holds a dashboard", () => {
  it("gives it back, and nothing for anything else", async () => {
    const { dashboard } = importGrafana({ schemaVersion: 1, title: "Ünïcode", panels: [] });
    expect(await unpacked(await packed(dashboard))).toEqual(dashboard);
    expect(await unpacked("bm90aGluZw")).toBeNull();
    expect(await unpacked("%%")).toBeNull();
  });

  it("that unpacks to far too much is refused", async () => {
    const { dashboard } = importGrafana({ schemaVersion: 1, title: "x", description: "y".repeat(3_000_000), panels: [] });
    expect(await unpacked(await packed(dashboard))).toBeNull();
  });
});

it("a copy gets an id of its own", () => expect(freeId("Fleet", ["fleet", "fleet-2"])).toBe("fleet-3"));
