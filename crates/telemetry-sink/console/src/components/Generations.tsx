// Generations of a system image with their boots, and how far the last update came.

import { text, instant, type Wire } from "../api/wire";
import { dateTime } from "../format";
import { nodeStatus, type Generation } from "../lib/machine";
import { Badge, Empty, KeyValues, Panel } from "./basics";

export function Generations({ wire }: { wire: Wire }) {
  const status = nodeStatus(wire);
  const boot = text(wire, "boot_id");
  if (!status) {
    return (
      <>
        <Empty icon="machine" title="This machine runs no system image of Quintet">
          Generations, boots and updates are kept by node-agent, which system images bring along.
        </Empty>
        {boot && <BootId boot={boot} />}
      </>
    );
  }
  const { update } = status;
  return (
    <>
      <Panel title="Generations" flush>
        <table class="table rows">
          <thead>
            <tr>
              <th scope="col">Version</th>
              <th scope="col">State</th>
              <th scope="col" class="num">
                Tries left
              </th>
            </tr>
          </thead>
          <tbody>
            {status.generations.map((generation) => (
              <tr key={generation.version}>
                <th scope="row" class="mono">
                  {generation.version}
                </th>
                <td>
                  <GenerationBadge generation={generation} />
                </td>
                <td class="num">{generation.triesLeft ?? "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
      <Panel title="Last update">
        <KeyValues
          pairs={[
            ["Progress", update.progress || "none"],
            ["Version", update.version || "–"],
            ["When", dateTime(instant(update.at))],
            ["Why", update.reason || "–"],
          ]}
        />
      </Panel>
      <Boots status={status} />
      {boot && <BootId boot={boot} />}
    </>
  );
}

function GenerationBadge({ generation }: { generation: Generation }) {
  if (generation.bad) return <Badge tone="bad">bad</Badge>;
  return generation.running ? <Badge tone="good">running</Badge> : <Badge tone="idle">kept</Badge>;
}

function Boots({ status }: { status: NonNullable<ReturnType<typeof nodeStatus>> }) {
  if (status.boots.length === 0) return null;
  return (
    <Panel title="Boots" note={`${status.boots.length}, the latest first`} flush>
      <div class="scroll-x" tabIndex={0} role="group" aria-label="Boots, the latest first">
        <table class="table rows">
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Version</th>
              <th scope="col">Outcome</th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {status.boots.map((boot, at) => (
              <tr key={at}>
                <td class="mono">{dateTime(instant(boot.at))}</td>
                <th scope="row" class="mono">
                  {boot.version}
                </th>
                <td>{boot.outcome.replaceAll("_", " ")}</td>
                <td class="kernel-text">{boot.reason}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function BootId({ boot }: { boot: string }) {
  return (
    <Panel title="This boot">
      <KeyValues pairs={[["Id", <span class="mono">{boot}</span>]]} />
    </Panel>
  );
}
