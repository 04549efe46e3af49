// Builds LogQL from the filters of the log screen. Quoting is the whole of the safety here:
// whatever a person types is a string literal, never syntax.

/** One field that lines must have, or must not have. */
export interface FieldFilter {
  readonly key: string;
  readonly op: "=" | "!=";
  readonly value: string;
}

export interface LogFilter {
  readonly service: string;
  readonly level: string;
  readonly text: string;
  readonly requestId: string;
  readonly traceId: string;
  readonly fields?: readonly FieldFilter[];
}

export const LEVELS = ["error", "warn", "info", "debug", "trace"] as const;

export function quote(text: string): string {
  const escaped = text
    .replace(/\\/g, "\\\\")
    .replace(/"/g, '\\"')
    .replace(/\n/g, "\\n")
    .replace(/\r/g, "\\r")
    .replace(/\t/g, "\\t");
  return `"${escaped}"`;
}

/** Names that LogQL takes for a label; whatever else a body holds is found by its text. */
export function isLabelName(key: string): boolean {
  return /^[a-zA-Z_]\w*$/.test(key);
}

/** The selector and line filters of one search. An empty selector means every service. */
export function logQuery(filter: LogFilter, serviceLabel: string, levelLabel: string): string {
  const fields = (filter.fields ?? []).filter(({ key }) => isLabelName(key));
  const indexed = ({ key }: FieldFilter): boolean => key === serviceLabel || key === levelLabel;
  const matchers: string[] = [];
  matchers.push(filter.service ? `${serviceLabel}=${quote(filter.service)}` : `${serviceLabel}=~".+"`);
  if (filter.level) matchers.push(`${levelLabel}=${quote(filter.level)}`);
  matchers.push(...fields.filter(indexed).map(fieldText));
  let query = `{${matchers.join(", ")}}`;
  if (filter.text) query += ` |= ${quote(filter.text)}`;
  if (filter.requestId) query += ` | request_id=${quote(filter.requestId)}`;
  if (filter.traceId) query += ` | trace_id=${quote(filter.traceId)}`;
  for (const field of fields) if (!indexed(field)) query += ` | ${fieldText(field)}`;
  return query;
}

function fieldText({ key, op, value }: FieldFilter): string {
  return `${key}${op}${quote(value)}`;
}

/** Lines of each step by one label: what a histogram draws. */
export function countQuery(logql: string, label: string, stepSeconds: number): string {
  return `sum by (${label}) (count_over_time(${logql} [${stepSeconds}s]))`;
}

/** Field filters as they stand in the address: `[["status","=","500"]]`; what is no such list is none. */
export function readFields(text: string | null): FieldFilter[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(parsed)) return [];
  return parsed.flatMap((item: unknown) => {
    if (!Array.isArray(item)) return [];
    const [key, op, value] = item as unknown[];
    const known = typeof key === "string" && typeof value === "string" && (op === "=" || op === "!=");
    return known ? [{ key, op, value }] : [];
  });
}

export function writeFields(fields: readonly FieldFilter[]): string {
  return fields.length === 0 ? "" : JSON.stringify(fields.map(({ key, op, value }) => [key, op, value]));
}

/** Adds a filter, or takes it away when it already stands; the opposite one gives way. */
export function toggleField(fields: readonly FieldFilter[], wanted: FieldFilter): FieldFilter[] {
  const others = fields.filter(({ key, value }) => key !== wanted.key || value !== wanted.value);
  const stood = fields.some(({ key, op, value }) => key === wanted.key && op === wanted.op && value === wanted.value);
  return stood ? others : [...others, wanted];
}
