// Reads a dashboard that Grafana exported. The commonest panels and variables come over; what does not is said.

import type { Unit } from "../format";
import { COLUMNS, slug, type BoardPanel, type Dashboard, type PanelKind, type Threshold, type Variable } from "./dashboard";

type Wire = Readonly<Record<string, unknown>>;

export interface Imported {
  readonly dashboard: Dashboard;
  readonly notes: readonly string[];
}

const KINDS: Readonly<Record<string, PanelKind>> = {
  timeseries: "timeseries",
  graph: "timeseries",
  barchart: "timeseries",
  stat: "stat",
  singlestat: "stat",
  gauge: "gauge",
  bargauge: "bars",
  piechart: "bars",
  table: "table",
  "table-old": "table",
  text: "text",
  logs: "logs",
  row: "row",
};

const UNITS: Readonly<Record<string, Unit>> = {
  bytes: "bytes",
  decbytes: "bytes",
  Bps: "byterate",
  binBps: "byterate",
  s: "seconds",
  ms: "millis",
  dtdurations: "seconds",
  percentunit: "ratio",
  percent: "percent",
  reqps: "rate",
  ops: "rate",
  cps: "rate",
  rps: "rate",
};

export function isGrafana(value: unknown): boolean {
  const wire = unwrapped(value);
  return "schemaVersion" in wire || "templating" in wire || "rows" in wire;
}

export function importGrafana(value: unknown): Imported {
  const wire = unwrapped(value);
  const notes: string[] = [];
  const title = text(wire["title"]) || "Imported dashboard";
  const panels = flattened(wire).flatMap((panel) => toPanel(panel, notes));
  const variables = objects(object(wire["templating"])["list"]).flatMap((one) => toVariable(one, notes));
  return {
    dashboard: { version: 1, id: slug(title), title, description: text(wire["description"]), variables, panels },
    notes: [...new Set(notes)],
  };
}

/** An export over Grafana's API wraps the dashboard. */
function unwrapped(value: unknown): Wire {
  const wire = object(value);
  return "dashboard" in wire ? object(wire["dashboard"]) : wire;
}

/** Panels in order; those of a folded row come out of it. */
function flattened(wire: Wire): Wire[] {
  const panels = objects(wire["panels"]).flatMap((panel) => [panel, ...objects(panel["panels"])]);
  // Before version 5 panels stood in rows, with a width in twelfths.
  let y = 0;
  const old = objects(wire["rows"]).flatMap((row) => {
    let x = 0;
    const inner = objects(row["panels"]).map((panel) => {
      const w = Math.max(1, Math.round(figure(panel["span"], 12) * 2));
      if (x + w > COLUMNS) {
        x = 0;
        y += 8;
      }
      const placed = { ...panel, gridPos: { x, y, w, h: 8 } };
      x += w;
      return placed;
    });
    y += 8;
    return inner;
  });
  return [...panels, ...old];
}

function toPanel(panel: Wire, notes: string[]): BoardPanel[] {
  const type = text(panel["type"]);
  const kind = KINDS[type];
  const title = text(panel["title"]);
  if (!kind) {
    notes.push(`The panel “${title || type}” is of the type ${type || "unknown"}, which is left out.`);
    return [];
  }
  if (panel["repeat"]) notes.push(`The panel “${title}” repeats for ${text(panel["repeat"])}; it is shown once.`);
  if (objects(panel["transformations"]).length > 0) notes.push(`The transformations of “${title}” are left out.`);
  const place = object(panel["gridPos"]);
  const defaults = object(object(panel["fieldConfig"])["defaults"]);
  const custom = object(defaults["custom"]);
  const options = object(panel["options"]);
  const x = clamp(figure(place["x"], 0), 0, COLUMNS - 1);
  return [
    {
      title,
      kind,
      x,
      y: clamp(figure(place["y"], 0), 0, 10_000),
      w: clamp(figure(place["w"], kind === "row" ? COLUMNS : 12), 1, COLUMNS - x),
      h: clamp(figure(place["h"], kind === "row" ? 1 : 8), 1, 100),
      unit: UNITS[text(defaults["unit"]) || text(panel["format"])] ?? "plain",
      queries: objects(panel["targets"])
        .filter((target) => target["hide"] !== true && text(target["expr"]) !== "")
        .map((target) => ({ expression: text(target["expr"]), legend: text(target["legendFormat"]) })),
      text: kind === "text" ? text(options["content"]) || text(panel["content"]) : "",
      stacked: ["normal", "percent"].includes(text(object(custom["stacking"])["mode"])) || panel["stack"] === true,
      min: optional(defaults["min"]),
      max: optional(defaults["max"]),
      thresholds: thresholds(object(defaults["thresholds"])),
    },
  ];
}

function thresholds(wire: Wire): Threshold[] {
  return objects(wire["steps"]).map((step) => ({
    from: optional(step["value"]) ?? -1e308,
    tone: /red|purple/.test(text(step["color"])) ? "bad" : /orange|yellow/.test(text(step["color"])) ? "warn" : "good",
  }));
}

function toVariable(wire: Wire, notes: string[]): Variable[] {
  const name = text(wire["name"]);
  const type = text(wire["type"]);
  if (type === "datasource") return [];
  const known = ["query", "custom", "interval", "constant", "textbox"].includes(type);
  if (!known || !/^\w+$/.test(name)) {
    notes.push(`The variable ${name || "without a name"} is of the type ${type}, which is left out.`);
    return [];
  }
  const asked = wire["query"];
  const query = typeof asked === "string" ? asked : text(object(asked)["query"]) || text(wire["definition"]);
  const current = object(wire["current"])["value"];
  const chosen = Array.isArray(current) ? current.map(String).join(",") : text(current);
  const listed = query.split(/(?<!\\),/).map((one) => one.trim().replace(/^.* : /, "").replaceAll("\\,", ","));
  const kind = type === "query" ? "query" : type === "interval" ? "interval" : "custom";
  return [
    {
      name,
      label: text(wire["label"]) || name,
      kind,
      query: kind === "query" ? query : "",
      regex: text(wire["regex"]),
      options: kind === "query" ? [] : listed.filter((one) => one !== ""),
      multi: wire["multi"] === true,
      all: wire["includeAll"] === true,
      current: chosen.startsWith("$__auto") ? "" : chosen,
    },
  ];
}

function object(value: unknown): Wire {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Wire) : {};
}

function objects(value: unknown): Wire[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "object" && one !== null).map((one) => one as Wire) : [];
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function figure(value: unknown, fallback: number): number {
  return typeof value === "number" && Number.isFinite(value) ? Math.round(value) : fallback;
}

function optional(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

function clamp(value: number, least: number, most: number): number {
  return Math.max(least, Math.min(most, value));
}
