// Completion for the PromQL box: what is being typed at the cursor, and what could stand there.

export type Context =
  | { readonly kind: "name"; readonly from: number; readonly prefix: string }
  | { readonly kind: "label"; readonly from: number; readonly prefix: string; readonly metric: string }
  | {
      readonly kind: "value";
      readonly from: number;
      readonly prefix: string;
      readonly metric: string;
      readonly label: string;
    }
  | { readonly kind: "none" };

/** What the text before the cursor asks for. A single scan; strings and braces are tracked. */
export function contextAt(text: string, cursor: number): Context {
  const before = text.slice(0, cursor);
  const scan = scanBraces(before);
  if (scan.inString) {
    if (scan.braceAt === -1) return { kind: "none" };
    const label = /([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*$/.exec(before.slice(0, scan.stringAt))?.[1];
    if (label === undefined) return { kind: "none" };
    const from = scan.stringAt + 1;
    return { kind: "value", from, prefix: before.slice(from), metric: metricBefore(before, scan.braceAt), label };
  }
  const word = /[a-zA-Z_:][\w:]*$/.exec(before)?.[0] ?? "";
  const from = cursor - word.length;
  if (scan.braceAt !== -1) {
    if (/(=~|!~|!=|=)\s*$/.test(before.slice(0, from))) return { kind: "none" };
    return { kind: "label", from, prefix: word, metric: metricBefore(before, scan.braceAt) };
  }
  if (word === "" || scan.bracketOpen || /[\d.]$/.test(before.slice(0, from))) return { kind: "none" };
  return { kind: "name", from, prefix: word };
}

interface Scan {
  readonly inString: boolean;
  readonly stringAt: number;
  readonly braceAt: number;
  readonly bracketOpen: boolean;
}

function scanBraces(before: string): Scan {
  let quoteMark = "";
  let stringAt = -1;
  let braceAt = -1;
  let bracketOpen = false;
  for (let at = 0; at < before.length; at += 1) {
    const char = before.charAt(at);
    if (quoteMark !== "") {
      if (char === "\\" && quoteMark !== "`") at += 1;
      else if (char === quoteMark) quoteMark = "";
      continue;
    }
    if (char === '"' || char === "'" || char === "`") {
      quoteMark = char;
      stringAt = at;
    } else if (char === "{") braceAt = at;
    else if (char === "}") braceAt = -1;
    else if (char === "[") bracketOpen = true;
    else if (char === "]") bracketOpen = false;
  }
  return { inString: quoteMark !== "", stringAt, braceAt, bracketOpen };
}

function metricBefore(text: string, braceAt: number): string {
  return /([a-zA-Z_:][\w:]*)\s*$/.exec(text.slice(0, braceAt))?.[1] ?? "";
}

/** Candidates for a prefix: those that begin with it first, then those that contain it. */
export function rank(candidates: readonly string[], prefix: string, limit = 12): string[] {
  const wanted = prefix.toLowerCase();
  const starts: string[] = [];
  const contains: string[] = [];
  for (const candidate of candidates) {
    const at = candidate.toLowerCase().indexOf(wanted);
    if (at === 0) starts.push(candidate);
    else if (at > 0) contains.push(candidate);
  }
  return [...starts, ...contains].slice(0, limit);
}

/** The series name Prometheus would print: `name{a="b"}`. */
export function seriesName(labels: Readonly<Record<string, string>>): string {
  const { __name__: name = "", ...rest } = labels;
  const pairs = Object.entries(rest)
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([label, value]) => `${label}="${value}"`);
  if (pairs.length === 0) return name === "" ? "{}" : name;
  return `${name}{${pairs.join(", ")}}`;
}

/** Names for a legend: only what tells the series apart, and that only once. */
export function legendNames(series: readonly Readonly<Record<string, string>>[]): string[] {
  if (series.length <= 1) return series.map(seriesName);
  const keys = new Set(series.flatMap((labels) => Object.keys(labels)));
  const columns = new Map<string, string>();
  for (const key of [...keys].sort((left, right) => preference(left) - preference(right))) {
    const values = series.map((labels) => labels[key] ?? "");
    // A label that tells no more series apart than another one, as instance does with one process per job, is left out.
    const column = values.map((value) => values.indexOf(value)).join();
    if (new Set(values).size > 1 && !columns.has(column)) columns.set(column, key);
  }
  const varying = [...columns.values()];
  return series.map((labels) => {
    const shown = Object.fromEntries(varying.flatMap((key) => (labels[key] === undefined ? [] : [[key, labels[key]]])));
    const only = varying.length === 1 && varying[0] !== undefined ? shown[varying[0]] : undefined;
    return only ?? seriesName(shown);
  });
}

function preference(label: string): number {
  if (label === "job") return 0;
  return label === "instance" ? 2 : 1;
}
