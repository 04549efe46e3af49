// The kernel's last messages, by level.

import type { Wire } from "../api/wire";
import { age, dateTime } from "../format";
import { kernelMessages, messagesWith, perLevel, readLevels, type KernelMessage, type Level } from "../lib/machine";
import { Empty, Panel } from "./basics";

const MOST_ROWS = 1000;

interface LogProps {
  readonly wire: Wire;
  readonly find: string;
  /** Chosen levels, as the address has them. */
  readonly chosen: string | null;
  readonly choose: (levels: string) => void;
}

export function KernelLog({ wire, find, chosen, choose }: LogProps) {
  const messages = kernelMessages(wire);
  const reason = wire["reason"];
  if (messages.length === 0) {
    return (
      <Empty icon="machine" title="The kernel's messages cannot be read">
        {typeof reason === "string" ? <p>{reason}</p> : <p>The kernel has written none.</p>}
        <p>
          <code>docs/operator/telemetry/diagnostics.md</code> has the lines of the unit that show them.
        </p>
      </Empty>
    );
  }
  const levels = readLevels(chosen);
  const found = messagesWith(messages, levels, find);
  const toggle = (level: Level): void => {
    choose((levels.includes(level) ? levels.filter((one) => one !== level) : [...levels, level]).join(","));
  };
  return (
    <>
      <div class="chips" role="group" aria-label="Levels">
        {perLevel(messages).map(([level, count]) => (
          <button key={level} type="button" class="chip" aria-pressed={levels.includes(level)} onClick={() => toggle(level)}>
            {level} <b>{count}</b>
          </button>
        ))}
        {levels.length > 0 && (
          <button type="button" class="chip" onClick={() => choose("")}>
            All levels
          </button>
        )}
      </div>
      {found.length === 0 ? (
        <Empty icon="search" title={`None of the ${messages.length} messages matches`}>
          Choose more levels, or drop a word of the search.
        </Empty>
      ) : (
        <Panel title="Kernel messages" note={<span role="status">{found.length} of the last {messages.length}, newest first</span>} flush>
          <div class="scroll-x" tabIndex={0} role="group" aria-label="Kernel messages, newest first">
            <table class="table rows kernel-log">
              <thead>
                <tr>
                  <th scope="col">When</th>
                  <th scope="col">Level</th>
                  <th scope="col">Message</th>
                </tr>
              </thead>
              <tbody>
                {found.slice(0, MOST_ROWS).map((message) => (
                  <Message key={message.number} message={message} />
                ))}
              </tbody>
            </table>
          </div>
        </Panel>
      )}
    </>
  );
}

const SEVERE: Readonly<Partial<Record<Level, "bad" | "warn">>> = {
  emergency: "bad",
  alert: "bad",
  critical: "bad",
  error: "bad",
  warning: "warn",
};

function Message({ message }: { message: KernelMessage }) {
  const { level, atMs, sinceBootSeconds, text } = message;
  return (
    <tr data-level={level} class={SEVERE[level] ?? ""}>
      <td class="mono" title={`${age(sinceBootSeconds)} after the boot`}>
        {dateTime(atMs)}
      </td>
      <td>
        <span class={SEVERE[level] ?? "muted"}>{level}</span>
      </td>
      <td class="mono kernel-text">{text}</td>
    </tr>
  );
}
