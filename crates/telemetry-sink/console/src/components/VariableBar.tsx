// The variables of a dashboard as a row of lists. Their values stand in the address.

import { labelValues, metricNames, query } from "../api/prometheus";
import { useResource } from "../hooks";
import type { Variable } from "../lib/dashboard";
import { seriesName } from "../lib/promql";
import { ALL, chosenValues, filtered, interpolate, variableQuery, type Chosen } from "../lib/variables";
import type { Range } from "../lib/time-range";

const MOST_OPTIONS = 500;

export interface Resolved {
  readonly options: ReadonlyMap<string, readonly string[]>;
  readonly chosen: Chosen;
}

/** Values in the order of the variables, since a later one may use an earlier one. */
export async function resolve(
  variables: readonly Variable[],
  address: URLSearchParams,
  range: Range,
  signal: AbortSignal,
): Promise<Resolved> {
  const options = new Map<string, readonly string[]>();
  const chosen = new Map<string, readonly string[]>();
  for (const variable of variables) {
    const own = variable.kind === "query" ? await asked(variable, chosen, range, signal) : variable.options;
    options.set(variable.name, own.slice(0, MOST_OPTIONS));
    chosen.set(variable.name, chosenValues(variable, own, address.get(`var-${variable.name}`)));
  }
  return { options, chosen };
}

async function asked(variable: Variable, chosen: Chosen, range: Range, signal: AbortSignal): Promise<string[]> {
  const wanted = variableQuery(interpolate(variable.query, chosen, range, 15));
  if (!wanted) return [];
  const found = async (): Promise<readonly string[]> => {
    switch (wanted.kind) {
      case "values":
        return labelValues(wanted.label, wanted.metric, signal);
      case "metrics":
        return filtered(await metricNames(signal), wanted.pattern);
      case "result":
        return (await query(wanted.expression, range.endMs, signal)).map(({ labels, points }) => {
          return `${seriesName(labels)} ${points.at(-1)?.[1] ?? ""}`;
        });
    }
  };
  return filtered(await found(), variable.regex).sort((left, right) => left.localeCompare(right, "en", { numeric: true }));
}

interface BarProps {
  readonly variables: readonly Variable[];
  readonly resolved: Resolved | undefined;
  readonly address: URLSearchParams;
  readonly setQuery: (change: Readonly<Record<string, string>>) => void;
}

export function VariableBar({ variables, resolved, address, setQuery }: BarProps) {
  if (variables.length === 0) return null;
  return (
    <div class="variables" role="group" aria-label="Variables">
      {variables.map((variable) => {
        const key = `var-${variable.name}`;
        const options = resolved?.options.get(variable.name) ?? [];
        const stands = address.get(key) || variable.current || (variable.all ? ALL : (options[0] ?? ""));
        return (
          <label key={variable.name}>
            {variable.label}
            <select value={stands} onChange={(event) => setQuery({ [key]: event.currentTarget.value })}>
              {variable.all && <option value={ALL}>All</option>}
              {!options.includes(stands) && stands !== ALL && <option value={stands}>{stands}</option>}
              {options.map((option) => (
                <option key={option} value={option}>
                  {option}
                </option>
              ))}
            </select>
          </label>
        );
      })}
    </div>
  );
}

/** Asks for the values again when the address or the range changes. */
export function useVariables(variables: readonly Variable[], address: URLSearchParams, range: Range) {
  const wanted = variables.map(({ name }) => address.get(`var-${name}`) ?? "");
  // Ranges that end now move on all the time; values of labels change seldom.
  const minute = Math.floor(range.endMs / 300_000);
  return useResource((signal) => resolve(variables, address, range, signal), [variables, wanted, minute]);
}
