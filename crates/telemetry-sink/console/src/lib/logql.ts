// Builds LogQL from the filters of the log screen. Quoting is the whole of the safety here:
// whatever a person types is a string literal, never syntax.

export interface LogFilter {
  readonly service: string;
  readonly level: string;
  readonly text: string;
  readonly requestId: string;
  readonly traceId: string;
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

/** The selector and line filters of one search. An empty selector means every service. */
export function logQuery(filter: LogFilter, serviceLabel: string, levelLabel: string): string {
  const matchers: string[] = [];
  matchers.push(filter.service ? `${serviceLabel}=${quote(filter.service)}` : `${serviceLabel}=~".+"`);
  if (filter.level) matchers.push(`${levelLabel}=${quote(filter.level)}`);
  let query = `{${matchers.join(", ")}}`;
  if (filter.text) query += ` |= ${quote(filter.text)}`;
  if (filter.requestId) query += ` | request_id=${quote(filter.requestId)}`;
  if (filter.traceId) query += ` | trace_id=${quote(filter.traceId)}`;
  return query;
}
