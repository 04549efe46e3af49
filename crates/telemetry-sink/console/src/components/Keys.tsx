// What the keyboard does, on every screen and on single ones.

import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { ENTRIES } from "./screens";

const HERE: readonly (readonly [title: string, keys: readonly (readonly [string, string])[]])[] = [
  ["Everywhere", [["/", "search this screen, or find an id"], ["Esc", "leave the search, close what is open"], ["?", "these keys"]]],
  ["Logs", [["j", "next line"], ["k", "line before"], ["Enter", "open the line"], ["Home", "newest"], ["End", "oldest loaded"]]],
  ["A trace", [["↓ ↑", "next span, span before"], ["← →", "fold, unfold"], ["Enter", "open the span; in the search, the next one found"]]],
  ["Metrics", [["Tab", "take the completion"], ["↓ ↑", "choose another"], ["Enter", "run"]]],
];

export function Keys({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    element?.showModal();
    return () => {
      element?.close();
      if (before instanceof HTMLElement) before.focus({ preventScroll: true });
    };
  }, []);
  return (
    <dialog ref={dialog} class="dialog keys-dialog" aria-labelledby="keys" onClose={close}>
      <form method="dialog">
        <h2 id="keys">Keys</h2>
        <div class="key-columns">
          <List title="Go to">
            {ENTRIES.map(({ key, label }) => (
              <Row key={key} keys={["g", key]} what={label} />
            ))}
          </List>
          <div>
            {HERE.map(([title, rows]) => (
              <List key={title} title={title}>
                {rows.map(([key, what]) => (
                  <Row key={key} keys={key.split(" ")} what={what} />
                ))}
              </List>
            ))}
          </div>
        </div>
        <div class="dialog-foot">
          <button type="submit" class="button" autoFocus>
            Close
          </button>
        </div>
      </form>
    </dialog>
  );
}

function List({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <section>
      <h3>{title}</h3>
      <dl class="key-list">{children}</dl>
    </section>
  );
}

function Row({ keys, what }: { keys: readonly string[]; what: string }) {
  return (
    <div>
      <dt>
        {keys.map((key) => (
          <kbd key={key}>{key}</kbd>
        ))}
      </dt>
      <dd>{what}</dd>
    </div>
  );
}
