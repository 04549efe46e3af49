// Dashboards: those that ship, those that the server keeps for everybody, those that this browser keeps, and the way in
// for those from Grafana.

import { useState } from "preact/hooks";
import {
  drop,
  forget,
  freeId,
  keepNew,
  kept,
  mayStore,
  shipped,
  store,
  stored,
  type Listed,
  type Stored,
} from "../api/dashboards";
import { Failure, Loading, Page, Panel } from "../components/basics";
import { useConfirm } from "../components/Confirm";
import { Icon } from "../components/Icon";
import { useResource } from "../hooks";
import { readDashboard, type Dashboard } from "../lib/dashboard";
import { importGrafana, isGrafana } from "../lib/grafana";
import { dashboardPath } from "../lib/routes";
import { navigate } from "../router";

const LARGEST_FILE = 4 * 1024 * 1024;

export function DashboardsScreen() {
  const { data, error, reload } = useResource(
    async (signal) => {
      const [ships, onServer, may] = await Promise.all([shipped(signal), stored(signal), mayStore(signal)]);
      // One of the same name replaces it.
      return { ships: ships.filter((one) => !onServer.some(({ id }) => id === one.id)), onServer, may };
    },
    [],
  );
  const [own, setOwn] = useState(kept);
  const [said, setSaid] = useState<string | null>(null);
  const taken = [...(data?.ships ?? []), ...(data?.onServer ?? []), ...own].map(({ id }) => id);
  const changed = (problem: string | null): void => {
    setSaid(problem);
    setOwn(kept());
    reload();
  };
  const blank = async (): Promise<void> => {
    const title = "New dashboard";
    const dashboard: Dashboard = { version: 1, id: freeId(title, taken), title, description: "", variables: [], panels: [FIRST] };
    const problem = await keepNew(dashboard);
    if (problem === null) navigate(`${dashboardPath(dashboard.id)}?edit=1`);
    else setSaid(problem);
  };
  return (
    <Page
      title="Dashboards"
      tools={
        <button type="button" class="button" onClick={() => void blank()}>
          <Icon name="plus" size={14} /> New
        </button>
      }
    >
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="the dashboards" />}
      {said && (
        <p class="bad" role="alert">
          {said}
        </p>
      )}
      {data && <Ships listed={data.ships} />}
      {data && data.onServer.length > 0 && <OnServer listed={data.onServer} may={data.may} changed={changed} />}
      {own.length > 0 && <InBrowser own={own} may={data?.may === true} onServer={data?.onServer ?? []} changed={changed} />}
      <Import taken={taken} done={() => changed(null)} where={data?.may ? "by the server" : "in this browser"} />
    </Page>
  );
}

function Ships({ listed }: { listed: readonly Listed[] }) {
  return (
    <ul class="board-cards" aria-label="Dashboards that ship">
      {listed.map((one) => (
        <li key={one.id}>
          <a href={dashboardPath(one.id)}>
            <Icon name="board" size={18} />
            <b>{one.title}</b>
            <span>{one.description}</span>
          </a>
        </li>
      ))}
    </ul>
  );
}

type Changed = (problem: string | null) => void;

function panels(count: number): string {
  return count === 1 ? "1 panel" : `${count} panels`;
}

function OnServer({ listed, may, changed }: { listed: readonly Stored[]; may: boolean; changed: Changed }) {
  const [dialog, ask] = useConfirm();
  const question = (one: Stored): void =>
    ask({
      title: `Delete ${one.title}?`,
      text: <p>Nobody will see it any more. Export it first if it may be wanted again.</p>,
      action: "Delete",
      danger: true,
      run: async () => changed(await drop(one.id, one.etag)),
    });
  return (
    <Panel title="Kept by the server" note="for everybody who may sign in" flush>
      <table class="table rows">
        <tbody>
          {listed.map((one) => (
            <tr key={one.id} data-stored={one.id}>
              <th scope="row">
                <a href={dashboardPath(one.id)}>{one.title}</a>
              </th>
              <td class="muted">{one.description}</td>
              <td class="muted">{panels(one.panels)}</td>
              <td class="num">
                {may && (
                  <button type="button" class="button small" aria-label={`Delete ${one.title}`} onClick={() => question(one)}>
                    Delete
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {dialog}
    </Panel>
  );
}

interface InBrowserProps {
  readonly own: readonly Dashboard[];
  readonly onServer: readonly Stored[];
  readonly may: boolean;
  readonly changed: Changed;
}

/** What was kept before the server kept any, or by who may not write there. */
function InBrowser({ own, onServer, may, changed }: InBrowserProps) {
  const move = async (one: Dashboard): Promise<void> => {
    const others = own.filter(({ id }) => id !== one.id);
    const id = freeId(one.id, [...onServer, ...others].map((other) => other.id));
    const problem = await store({ ...one, id }, null);
    if (problem === null) forget(one.id);
    changed(problem);
  };
  return (
    <Panel
      title="Kept in this browser"
      note={may ? "nobody else sees these until they are moved" : "the server keeps them for who has the scope telemetry:write"}
      flush
    >
      <table class="table rows">
        <tbody>
          {own.map((one) => (
            <tr key={one.id}>
              <th scope="row">
                <a href={dashboardPath(one.id)}>{one.title}</a>
              </th>
              <td class="muted">{panels(one.panels.length)}</td>
              <td class="num">
                {may && (
                  <button type="button" class="button small" aria-label={`Move ${one.title} to the server`} onClick={() => void move(one)}>
                    Move to the server
                  </button>
                )}{" "}
                <button
                  type="button"
                  class="button small"
                  aria-label={`Delete ${one.title}`}
                  onClick={() => {
                    forget(one.id);
                    changed(null);
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

function Import({ taken, done, where }: { taken: readonly string[]; done: () => void; where: string }) {
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
    const problem = await keepNew(dashboard);
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
            {outcome.dashboard.title} is kept {where}, with {panels(outcome.dashboard.panels.length)}.
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
