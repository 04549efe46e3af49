// What of a log record fits on one line: an access record as the request it was, any other
// record as its message and the fields that are its own.

import { latency } from "../format";

type Fields = Readonly<Record<string, string>>;

/** Said elsewhere on the line, or the same on every line of a process. */
const QUIET = new Set([
  "service_name",
  "level",
  "detected_level",
  "trace_id",
  "span_id",
  "request_id",
  "scope_name",
  "host_name",
  "process_pid",
  "service_instance_id",
  "service_namespace",
  "service_version",
  "message",
]);

export interface LineText {
  readonly text: string;
  readonly details: readonly (readonly [string, string])[];
}

export function lineText(message: string, fields: Fields): LineText {
  const { method, path, status } = fields;
  if (fields["scope_name"] === "access" && method && path && status) {
    const took = micros(fields);
    const text = `${method} ${path} ${status}${took === null ? "" : ` in ${latency(took)}`}`;
    const upstream = fields["upstream"];
    return { text, details: upstream ? [["upstream", upstream]] : [] };
  }
  const details = Object.entries(fields).filter(([key]) => !QUIET.has(key));
  return { text: message, details };
}

function micros(fields: Fields): number | null {
  const [us, ms] = [fields["duration_us"], fields["duration_ms"]];
  if (us !== undefined) return Number(us);
  return ms === undefined ? null : Number(ms) * 1000;
}
