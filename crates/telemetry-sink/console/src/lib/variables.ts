// Variables of a dashboard within its expressions: `$name`, `${name}`, `${name:csv}`, `[[name]]`, and those that
// Grafana provides itself.

import type { Range } from "./time-range";
import { rateWindow } from "./time-range";
import type { Variable } from "./dashboard";

/** Stands for every value of a variable in the address. */
export const ALL = "$__all";

export type Chosen = ReadonlyMap<string, readonly string[]>;

export function interpolate(text: string, chosen: Chosen, range: Range, step: number): string {
  const seconds = Math.max(1, Math.round((range.endMs - range.startMs) / 1000));
  const provided: Readonly<Record<string, string>> = {
    __rate_interval: rateWindow(step),
    __interval: `${step}s`,
    __interval_ms: String(step * 1000),
    __range: `${seconds}s`,
    __range_s: String(seconds),
    __range_ms: String(seconds * 1000),
    __from: String(Math.floor(range.startMs)),
    __to: String(Math.floor(range.endMs)),
  };
  return text.replace(/\$\{(\w+)(?::(\w+))?\}|\[\[(\w+)\]\]|\$(\w+)/g, (whole, braced, form, bracketed, plain) => {
    const name = String(braced ?? bracketed ?? plain);
    const values = chosen.get(name);
    return provided[name] ?? (values === undefined ? whole : written(values, String(form ?? "")));
  });
}

function written(values: readonly string[], form: string): string {
  if (form === "csv") return values.join(",");
  if (form === "pipe") return values.join("|");
  if (form === "raw" || form === "text") return values.length === 1 ? (values[0] ?? "") : values.join(",");
  if (values.length === 1 && form !== "regex") return values[0] ?? "";
  const escaped = values.map((value) => value.replace(/[\\^$.*+?()[\]{}|]/g, "\\\\$&"));
  return values.length === 1 ? (escaped[0] ?? "") : `(${escaped.join("|")})`;
}

export type VariableQuery =
  | { readonly kind: "values"; readonly label: string; readonly metric: string }
  | { readonly kind: "metrics"; readonly pattern: string }
  | { readonly kind: "result"; readonly expression: string };

/** What a query variable asks; null when it is none of the forms. */
export function variableQuery(text: string): VariableQuery | null {
  const values = /^\s*label_values\(\s*(?:([\s\S]*\S)\s*,\s*)?(\w+)\s*\)\s*$/.exec(text);
  if (values) return { kind: "values", metric: values[1] ?? "", label: values[2] ?? "" };
  const metrics = /^\s*metrics\(\s*([\s\S]*?)\s*\)\s*$/.exec(text);
  if (metrics) return { kind: "metrics", pattern: metrics[1] ?? "" };
  const result = /^\s*query_result\(([\s\S]*)\)\s*$/.exec(text);
  return result ? { kind: "result", expression: (result[1] ?? "").trim() } : null;
}

/** What the pattern of a variable keeps of its values, each once. */
export function filtered(values: readonly string[], pattern: string): string[] {
  if (pattern === "") return [...new Set(values)];
  let expression: RegExp;
  try {
    expression = new RegExp(/^\/(.*)\/\w*$/.exec(pattern)?.[1] ?? pattern);
  } catch {
    return [...new Set(values)];
  }
  const kept = values.flatMap((value) => {
    const found = expression.exec(value);
    return found ? [found[1] ?? found[0]] : [];
  });
  return [...new Set(kept)];
}

/** The values that the address chooses, or the variable's own, among those there are. */
export function chosenValues(variable: Variable, options: readonly string[], address: string | null): readonly string[] {
  const wanted = address === null || address === "" ? variable.current : address;
  const every = options.length > 0 ? options : [".*"];
  if (wanted === ALL || (wanted === "" && variable.all)) return variable.kind === "query" ? every : options;
  const parts = wanted === "" ? [] : variable.multi ? wanted.split(",") : [wanted];
  if (parts.length > 0) return parts;
  return options[0] === undefined ? [""] : [options[0]];
}

/** The legend of a series: its labels in the places of the pattern. */
export function legendOf(pattern: string, labels: Readonly<Record<string, string>>): string | null {
  if (pattern === "" || pattern === "__auto") return null;
  return pattern.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name: string) => labels[name] ?? "");
}
