// One dashboard: its variables, its panels on their grid, and its JSON to edit, export and share.

import { useEffect, useState } from "preact/hooks";
import { find, freeId, keep, keepNew, kept, packed, shipped, store, stored, unpacked, type Found } from "../api/dashboards";
import { Empty, Failure, Loading, Page } from "../components/basics";
import { BoardPanelView } from "../components/BoardPanelView";
import { Icon } from "../components/Icon";
import { PeriodPicker } from "../components/PeriodPicker";
import { useVariables, VariableBar } from "../components/VariableBar";
import { useResource } from "../hooks";
import { parseDashboard, type BoardPanel, type Dashboard } from "../lib/dashboard";
import { dashboardPath } from "../lib/routes";
import { periodQuery, rangeOf, readPeriod } from "../lib/time-range";
import { navigate, useQuery } from "../router";

/** The address of a dashboard that is in the address itself. */
const SHARED = "shared";

async function load(id: string, signal: AbortSignal): Promise<Found | null> {
  if (id !== SHARED) return find(id, signal);
  const dashboard = await unpacked(location.hash.replace(/^#d=/, ""));
  return dashboard && { dashboard, kept: null };
}

export function DashboardScreen({ id }: { id: string }) {
  const { data, error, reload } = useResource((signal) => load(id, signal), [id, location.hash]);
  if (error && error.status !== 404) {
    return (
      <Page title="Dashboard">
        <Failure error={error} retry={reload} />
      </Page>
    );
  }
  if (data === undefined && !error) {
    return (
      <Page title="Dashboard">
        <Loading what="the dashboard" />
      </Page>
    );
  }
  if (!data) {
    return (
      <Page title="Dashboard">
        <Empty icon="board" title={id === SHARED ? "This address holds no dashboard" : "There is no such dashboard"}>
          {id === SHARED ? "A part of it may be missing; ask for it again." : "Somebody may have deleted it, or another browser keeps it."}{" "}
          <a href="/dashboards">Every dashboard</a>
        </Empty>
      </Page>
    );
  }
  return <Board key={data.dashboard.id} found={data} reload={reload} />;
}

function Board({ found, reload }: { found: Found; reload: () => void }) {
  const { dashboard } = found;
  const [query, setQuery] = useQuery();
  const period = readPeriod(query, "1h");
  const editing = query.get("edit") === "1" && found.kept !== null;
  const range = rangeOf(period, Date.now());
  const variables = useVariables(dashboard.variables, query, range);
  const chosen = variables.data?.chosen;
  return (
    <Page title={dashboard.title} lead={dashboard.description} tools={<PeriodPicker period={period} setQuery={setQuery} />}>
      <div class="board-bar">
        <VariableBar variables={dashboard.variables} resolved={variables.data} address={query} setQuery={setQuery} />
        <Actions found={found} editing={editing} setQuery={setQuery} />
      </div>
      {variables.error && <Failure error={variables.error} retry={variables.reload} />}
      {editing && <Editor found={found} saved={reload} />}
      {chosen && (
        <div class="board">
          {ordered(dashboard.panels).map((panel, at) => (
            <div key={at} class={`board-cell kind-${panel.kind}`} style={placeOf(panel)}>
              <BoardPanelView
                panel={panel}
                period={period}
                chosen={chosen}
                zoom={(fixed) => setQuery(periodQuery({ fixed }))}
              />
            </div>
          ))}
        </div>
      )}
      {dashboard.panels.length === 0 && <Empty icon="board" title="This dashboard has no panels yet" />}
    </Page>
  );
}

/** Reading order is that of the screen: downwards, and from left to right. */
function ordered(panels: readonly BoardPanel[]): BoardPanel[] {
  return [...panels].sort((left, right) => left.y - right.y || left.x - right.x);
}

function placeOf(panel: BoardPanel): Record<string, string> {
  return {
    "--column": `${panel.x + 1} / span ${panel.w}`,
    "--row": `${panel.y + 1} / span ${panel.h}`,
    "--rows": String(panel.h),
  };
}

interface ActionsProps {
  readonly found: Found;
  readonly editing: boolean;
  readonly setQuery: (change: Readonly<Record<string, string>>) => void;
}

function Actions({ found, editing, setQuery }: ActionsProps) {
  const { dashboard } = found;
  const [said, setSaid] = useState("");
  const copy = async (): Promise<void> => {
    const taken = [...(await shipped()), ...(await stored()), ...kept()].map((one) => one.id);
    const id = freeId(dashboard.title, taken);
    const problem = await keepNew({ ...dashboard, id });
    if (problem === null) navigate(`${dashboardPath(id)}?edit=1`);
    else setSaid(problem);
  };
  const share = async (): Promise<void> => {
    const address = new URL(location.href);
    if (found.kept === "browser") {
      address.pathname = dashboardPath(SHARED);
      address.hash = `d=${await packed(dashboard)}`;
    }
    address.searchParams.delete("edit");
    await navigator.clipboard.writeText(address.href);
    setSaid("The address is copied.");
  };
  return (
    <div class="board-actions">
      <span class="muted" role="status">
        {said}
      </span>
      {found.kept !== null ? (
        <button type="button" class="button" aria-pressed={editing} onClick={() => setQuery({ edit: editing ? "" : "1" })}>
          Edit
        </button>
      ) : (
        <button type="button" class="button" onClick={() => void copy()}>
          Copy to edit
        </button>
      )}
      <button type="button" class="button" onClick={() => save(dashboard)}>
        <Icon name="save" size={14} /> Export
      </button>
      <button type="button" class="button" onClick={() => void share()}>
        <Icon name="copy" size={14} /> Share
      </button>
    </div>
  );
}

function save(dashboard: Dashboard): void {
  const address = URL.createObjectURL(new Blob([`${JSON.stringify(dashboard, null, 2)}\n`], { type: "application/json" }));
  const anchor = document.createElement("a");
  anchor.href = address;
  anchor.download = `${dashboard.id}.json`;
  anchor.click();
  URL.revokeObjectURL(address);
}

function Editor({ found, saved }: { found: Found; saved: () => void }) {
  const { dashboard } = found;
  const stored = JSON.stringify(dashboard, null, 2);
  const [text, setText] = useState(stored);
  const [failed, setFailed] = useState<string | null>(null);
  useEffect(() => setText(stored), [stored]);
  const parsed = parseDashboard(text);
  const problem = "problem" in parsed ? parsed.problem : failed;
  const save = async (edited: Dashboard): Promise<void> => {
    // Its address is its id: that stays.
    const changed = { ...edited, id: dashboard.id };
    const refused = found.kept === "server" ? await store(changed, found.etag) : keep(changed);
    setFailed(refused);
    if (refused === null) saved();
  };
  return (
    <form
      class="board-editor"
      onSubmit={(event) => {
        event.preventDefault();
        if ("dashboard" in parsed) void save(parsed.dashboard);
      }}
    >
      <label>
        The dashboard as JSON
        <textarea
          rows={18}
          spellcheck={false}
          value={text}
          aria-describedby="board-problem"
          onInput={(event) => {
            setFailed(null);
            setText(event.currentTarget.value);
          }}
        />
      </label>
      <p id="board-problem" class="bad" role="status">
        {problem ?? ""}
      </p>
      <button type="submit" class="button primary" disabled={"problem" in parsed || text === stored}>
        Keep
      </button>
    </form>
  );
}
