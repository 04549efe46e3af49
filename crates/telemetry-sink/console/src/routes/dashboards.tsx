// Dashboards: those that ship, those that this browser keeps, and the way in for those from Grafana.

import { useState } from "preact/hooks";
import { forget, freeId, keep, kept, shipped } from "../api/dashboards";
import { Failure, Loading, Page, Panel } from "../components/basics";
import { Icon } from "../components/Icon";
import { useResource } from "../hooks";
import { readDashboard, type Dashboard } from "../lib/dashboard";
import { importGrafana, isGrafana } from "../lib/grafana";
import { dashboardPath } from "../lib/routes";
import { navigate } from "../router";

const LARGEST_FILE = 4 * 1024 * 1024;

export function DashboardsScreen() {
  const { data, error, reload } = useResource(shipped, []);
  const [own, setOwn] = useState(kept);
  const taken = [...(data ?? []), ...own].map(({ id }) => id);
  const blank = (): void => {
    const title = "New dashboard";
    const dashboard: Dashboard = { version: 1, id: freeId(title, taken), title, description: "", variables: [], panels: [FIRST] };
    keep(dashboard);
    navigate(`${dashboardPath(dashboard.id)}?edit=1`);
  };
  return (
    <Page
      title="Dashboards"
      tools={
        <button type="button" class="button" onClick={blank}>
          <Icon name="plus" size={14} /> New
        </button>
      }
    >
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="the dashboards" />}
      {data && (
        <ul class="board-cards" aria-label="Dashboards that ship">
          {data.map((one) => (
            <li key={one.id}>
              <a href={dashboardPath(one.id)}>
                <Icon name="board" size={18} />
                <b>{one.title}</b>
                <span>{one.description}</span>
              </a>
            </li>
          ))}
        </ul>
      )}
      {own.length > 0 && (
        <Panel title="Kept in this browser" flush>
          <table class="table rows">
            <tbody>
              {own.map((one) => (
                <tr key={one.id}>
                  <th scope="row">
                    <a href={dashboardPath(one.id)}>{one.title}</a>
                  </th>
                  <td class="muted">{one.panels.length} panels</td>
                  <td class="num">
                    <button
                      type="button"
                      class="button small"
                      aria-label={`Delete ${one.title}`}
                      onClick={() => {
                        forget(one.id);
                        setOwn(kept());
                      }}
                    >
                      Delete
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Panel>
      )}
      <Import taken={taken} done={() => setOwn(kept())} />
    </Page>
  );
}

const FIRST = {
  title: "Requests by service",
  kind: "timeseries",
  x: 0,
  y: 0,
  w: 24,
  h: 10,
  unit: "rate",
  queries: [{ expression: "sum by (job) (rate(http_server_requests_total[$__rate_interval]))", legend: "{{job}}" }],
  text: "",
  stacked: false,
  min: null,
  max: null,
  thresholds: [],
} as const;

interface Outcome {
  readonly dashboard?: Dashboard;
  readonly problem?: string;
  readonly notes: readonly string[];
}

function read(text: string): Outcome {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return { problem: `This is no JSON: ${cause instanceof Error ? cause.message : ""}`, notes: [] };
  }
  if (isGrafana(value)) return importGrafana(value);
  const result = readDashboard(value);
  return { ...result, notes: [] };
}

function Import({ taken, done }: { taken: readonly string[]; done: () => void }) {
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const take = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    if (file.size > LARGEST_FILE) {
      setOutcome({ problem: "A dashboard of more than 4 MiB is not read.", notes: [] });
      return;
    }
    const found = read(await file.text());
    if (!found.dashboard) {
      setOutcome(found);
      return;
    }
    const dashboard = { ...found.dashboard, id: freeId(found.dashboard.title, taken) };
    const problem = keep(dashboard);
    setOutcome(problem === null ? { ...found, dashboard } : { problem, notes: [] });
    done();
  };
  return (
    <Panel title="Import">
      <form class="import-form" onSubmit={(event) => event.preventDefault()}>
        <label>
          A dashboard as JSON, of this console or exported from Grafana
          <input
            type="file"
            accept="application/json,.json"
            onChange={(event) => void take(event.currentTarget.files?.[0])}
          />
        </label>
      </form>
      {outcome?.problem && (
        <p class="bad" role="alert">
          {outcome.problem}
        </p>
      )}
      {outcome?.dashboard && (
        <div class="notice" role="status">
          <span>
            {outcome.dashboard.title} is kept in this browser, with {outcome.dashboard.panels.length} panels.
          </span>
          <a class="button" href={dashboardPath(outcome.dashboard.id)}>
            Open
          </a>
        </div>
      )}
      {outcome && outcome.notes.length > 0 && (
        <ul class="import-notes">
          {outcome.notes.map((note) => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </Panel>
  );
}
