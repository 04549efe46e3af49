// A dashboard as it is stored and shared: plain JSON, read strictly, every refusal saying where it is.

import { UNITS, type Unit } from "../format";

export const PANEL_KINDS = ["timeseries", "stat", "gauge", "bars", "table", "text", "logs", "row"] as const;
export type PanelKind = (typeof PANEL_KINDS)[number];

export interface PanelQuery {
  readonly expression: string;
  /** `{{label}}` stands for the value of a label. */
  readonly legend: string;
}

export interface Threshold {
  readonly from: number;
  readonly tone: "good" | "warn" | "bad";
}

/** Places are of a grid of 24 columns; a row of it is 30 pixels high. */
export interface BoardPanel {
  readonly title: string;
  readonly kind: PanelKind;
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
  readonly unit: Unit;
  readonly queries: readonly PanelQuery[];
  readonly text: string;
  readonly stacked: boolean;
  readonly min: number | null;
  readonly max: number | null;
  readonly thresholds: readonly Threshold[];
}

export interface Variable {
  readonly name: string;
  readonly label: string;
  readonly kind: "query" | "custom" | "interval";
  /** `label_values(metric, label)`, `metrics(expression)` or `query_result(expression)`. */
  readonly query: string;
  /** Keeps the part of each value that its group matches. */
  readonly regex: string;
  readonly options: readonly string[];
  readonly multi: boolean;
  readonly all: boolean;
  readonly current: string;
}

export interface Dashboard {
  readonly version: 1;
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly variables: readonly Variable[];
  readonly panels: readonly BoardPanel[];
}

export type Read = { readonly dashboard: Dashboard } | { readonly problem: string };

export const COLUMNS = 24;
const MOST_PANELS = 200;

type Wire = Readonly<Record<string, unknown>>;

class Unreadable extends Error {}

export function readDashboard(value: unknown): Read {
  try {
    const wire = object(value, "the dashboard");
    if (wire["version"] !== 1) throw new Unreadable("version is not 1, which is the only one there is");
    const panels = list(wire["panels"], "panels").map((panel, at) => readPanel(panel, `panels[${at}]`));
    if (panels.length > MOST_PANELS) throw new Unreadable(`${panels.length} panels are more than ${MOST_PANELS}`);
    const title = word(wire, "title", "the dashboard");
    if (title === "") throw new Unreadable("title is missing");
    return {
      dashboard: {
        version: 1,
        id: word(wire, "id", "the dashboard") || slug(title),
        title,
        description: word(wire, "description", "the dashboard"),
        variables: list(wire["variables"] ?? [], "variables").map((one, at) => readVariable(one, `variables[${at}]`)),
        panels,
      },
    };
  } catch (cause) {
    if (cause instanceof Unreadable) return { problem: cause.message };
    throw cause;
  }
}

export function parseDashboard(text: string): Read {
  try {
    return readDashboard(JSON.parse(text));
  } catch (cause) {
    return { problem: cause instanceof SyntaxError ? cause.message : String(cause) };
  }
}

export function slug(title: string): string {
  const text = title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "");
  return text.slice(0, 60) || "dashboard";
}

function readPanel(value: unknown, where: string): BoardPanel {
  const wire = object(value, where);
  const kind = oneOf(wire["kind"], PANEL_KINDS, `${where}.kind`);
  return {
    title: word(wire, "title", where),
    kind,
    x: whole(wire["x"] ?? 0, 0, COLUMNS - 1, `${where}.x`),
    y: whole(wire["y"] ?? 0, 0, 10_000, `${where}.y`),
    w: whole(wire["w"] ?? 12, 1, COLUMNS, `${where}.w`),
    h: whole(wire["h"] ?? 8, 1, 100, `${where}.h`),
    unit: oneOf(wire["unit"] ?? "plain", UNITS, `${where}.unit`),
    queries: list(wire["queries"] ?? [], `${where}.queries`).map((query, at) => {
      const one = object(query, `${where}.queries[${at}]`);
      return { expression: word(one, "expression", where), legend: word(one, "legend", where) };
    }),
    text: word(wire, "text", where),
    stacked: wire["stacked"] === true,
    min: figureOrNull(wire["min"], `${where}.min`),
    max: figureOrNull(wire["max"], `${where}.max`),
    thresholds: list(wire["thresholds"] ?? [], `${where}.thresholds`).map((threshold, at) => {
      const one = object(threshold, `${where}.thresholds[${at}]`);
      return {
        from: figureOrNull(one["from"], `${where}.thresholds[${at}].from`) ?? -Infinity,
        tone: oneOf(one["tone"], ["good", "warn", "bad"] as const, `${where}.thresholds[${at}].tone`),
      };
    }),
  };
}

function readVariable(value: unknown, where: string): Variable {
  const wire = object(value, where);
  const name = word(wire, "name", where);
  if (!/^\w+$/.test(name)) throw new Unreadable(`${where}.name must be of letters, digits and underscores`);
  return {
    name,
    label: word(wire, "label", where) || name,
    kind: oneOf(wire["kind"], ["query", "custom", "interval"] as const, `${where}.kind`),
    query: word(wire, "query", where),
    regex: word(wire, "regex", where),
    options: list(wire["options"] ?? [], `${where}.options`).map(String),
    multi: wire["multi"] === true,
    all: wire["all"] === true,
    current: word(wire, "current", where),
  };
}

function object(value: unknown, where: string): Wire {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Unreadable(`${where} is no object`);
  return value as Wire;
}

function list(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Unreadable(`${where} is no list`);
  return value as readonly unknown[];
}

function word(wire: Wire, key: string, where: string): string {
  const value = wire[key] ?? "";
  if (typeof value !== "string") throw new Unreadable(`${key} of ${where} is no text`);
  return value;
}

function whole(value: unknown, least: number, most: number, where: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return value;
  throw new Unreadable(`${where} must be a whole number from ${least} to ${most}`);
}

function figureOrNull(value: unknown, where: string): number | null {
  if (value === undefined || value === null) return null;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new Unreadable(`${where} is no number`);
}

function oneOf<T extends string>(value: unknown, known: readonly T[], where: string): T {
  const found = known.find((one) => one === value);
  if (found === undefined) throw new Unreadable(`${where} must be one of ${known.join(", ")}`);
  return found;
}

/** The tone of a value: that of the last threshold it reaches. */
export function toneOf(thresholds: readonly Threshold[], value: number): Threshold["tone"] | undefined {
  return thresholds.findLast(({ from }) => value >= from)?.tone;
}
