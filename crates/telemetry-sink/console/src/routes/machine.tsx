// A look at the machine that the sink runs on, for somebody who has no shell: read only, one subject at a time.

import { useEffect, useState } from "preact/hooks";
import { look, type Looked } from "../api/machine";
import { Empty, Failure, Loading, Page, Panel } from "../components/basics";
import { Generations } from "../components/Generations";
import { Icon } from "../components/Icon";
import { KernelLog } from "../components/KernelLog";
import { MachineList } from "../components/MachineList";
import { MissingScope } from "../components/MissingScope";
import { clockTime } from "../format";
import { useDebounced, useResource } from "../hooks";
import { hidesOthers, lookNamed, LOOKS, rowsOf, TABLES, type LookName } from "../lib/machine";
import { href } from "../lib/routes";
import { useQuery } from "../router";

type SetQuery = (change: Readonly<Record<string, string>>) => void;

const LEAD = "Read only. Nothing refreshes by itself, because every look is logged with who took it.";

export function MachineScreen() {
  const [query, setQuery] = useQuery();
  const name = lookNamed(query.get("look"));
  const find = query.get("find") ?? "";
  // No refresh by itself: the server logs each look.
  const { data, error, loading, reload } = useResource((signal) => look(name, signal), [name]);
  const seen = data?.kind === "seen" ? data : null;
  return (
    <Page title="Machine" lead={LEAD} tools={data?.kind === "denied" ? undefined : <Tabs current={name} />}>
      {error && <Failure error={error} retry={reload} />}
      {!data && !error && <Loading what="what the machine shows" />}
      {data?.kind === "denied" && (
        <MissingScope scope={data.scope} granted={data.granted} command={`telemetry-sink diagnose ${name}`} retry={reload} />
      )}
      {data?.kind === "absent" && (
        <Empty icon="machine" title="This telemetry sink does not show its machine">
          It answers 404 to <code>/telemetry/v1/diagnostics/{name}</code>; a newer one does.
        </Empty>
      )}
      {seen && name !== "generations" && (
        <SearchForm key={name} find={find} name={name} atMs={seen.atMs} busy={loading} setQuery={setQuery} reload={reload} />
      )}
      {seen && <Shown seen={seen} name={name} find={find} levels={query.get("level")} setQuery={setQuery} />}
    </Page>
  );
}

function Tabs({ current }: { current: LookName }) {
  return (
    <nav class="tabs" aria-label="What to look at">
      {LOOKS.map(([name, label]) => (
        <a key={name} href={href("/machine", { look: name })} aria-current={name === current ? "page" : undefined}>
          {label}
        </a>
      ))}
    </nav>
  );
}

interface FormProps {
  readonly find: string;
  readonly name: LookName;
  readonly atMs: number;
  readonly busy: boolean;
  readonly setQuery: SetQuery;
  readonly reload: () => void;
}

function SearchForm({ find, name, atMs, busy, setQuery, reload }: FormProps) {
  const [text, setText] = useState(find);
  const settled = useDebounced(text, 200);
  useEffect(() => {
    if (settled !== find) setQuery({ find: settled });
  }, [settled]);
  useEffect(() => setText(find), [find]);
  return (
    <form
      class="filters machine-search"
      onSubmit={(event) => {
        event.preventDefault();
        setQuery({ find: text });
      }}
    >
      <label class="grow">
        Find in {name === "kernel" ? "the kernel's messages" : name}
        <input
          type="search"
          name="find"
          data-slash=""
          value={text}
          spellcheck={false}
          autoComplete="off"
          onInput={(event) => setText(event.currentTarget.value)}
        />
      </label>
      <p class="muted" role="status">
        {busy ? "Looking…" : `Seen at ${clockTime(atMs).slice(0, 8)}`}
      </p>
      <button type="button" class="button" disabled={busy} onClick={reload}>
        <Icon name="refresh" size={14} /> Look again
      </button>
    </form>
  );
}

interface ShownProps {
  readonly seen: Extract<Looked, { kind: "seen" }>;
  readonly name: LookName;
  readonly find: string;
  readonly levels: string | null;
  readonly setQuery: SetQuery;
}

function Shown({ seen, name, find, levels, setQuery }: ShownProps) {
  const { wire } = seen;
  if (name === "kernel") {
    return <KernelLog wire={wire} find={find} chosen={levels} choose={(level) => setQuery({ level })} />;
  }
  if (name === "generations") return <Generations wire={wire} />;
  const table = TABLES[name];
  const rows = rowsOf(wire, table.list);
  const title = LOOKS.find(([known]) => known === name)?.[1] ?? name;
  return (
    <>
      {name === "processes" && rows.length > 0 && hidesOthers(rows) && <Hidden />}
      <MachineList key={name} title={title} table={table} rows={rows} find={find} />
      {name === "network" && <Addresses addresses={wire["addresses"]} />}
    </>
  );
}

function Hidden() {
  return (
    <p class="read-only" role="status">
      The sink's unit hides the processes of others, and so their units. <code>ProtectProc=default</code> in a drop-in shows
      them: <code>docs/operator/telemetry/diagnostics.md</code>.
    </p>
  );
}

function Addresses({ addresses }: { addresses: unknown }) {
  const known = Array.isArray(addresses) ? addresses.filter((one): one is string => typeof one === "string") : [];
  if (known.length === 0) return null;
  return (
    <Panel title="IPv4 addresses of the machine">
      <ul class="address-list">
        {known.map((address) => (
          <li key={address}>
            <code>{address}</code>
          </li>
        ))}
      </ul>
    </Panel>
  );
}
