// A button for what not everybody may do. Without the scope it stays in place, can be reached, and says why it does
// nothing: a button that vanishes leaves people looking for it.

import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";
import { session } from "../api/session";
import { useResource } from "../hooks";

/** Whether the signed-in person has a scope; undefined until that is known. */
export function useScope(scope: string): boolean | undefined {
  const { data } = useResource(session, []);
  return data?.scopes.includes(scope);
}

interface ActionProps {
  readonly allowed: boolean | undefined;
  readonly scope: string;
  readonly onClick: () => void;
  readonly label?: string;
  readonly class?: string;
  readonly disabled?: boolean;
  readonly children: ComponentChildren;
}

export function ActionButton({ allowed, scope, onClick, label, disabled, children, ...rest }: ActionProps) {
  const reason = useId();
  const refused = allowed === false;
  return (
    <>
      <button
        type="button"
        class={`button ${rest.class ?? ""}`}
        aria-label={label}
        aria-disabled={refused ? "true" : undefined}
        aria-describedby={refused ? reason : undefined}
        title={refused ? `Needs the scope ${scope}` : undefined}
        disabled={disabled || allowed === undefined}
        onClick={refused ? undefined : onClick}
      >
        {children}
      </button>
      {refused && (
        <span id={reason} hidden>
          Needs the scope {scope}
        </span>
      )}
    </>
  );
}

/** Said once on a page whose actions are refused. */
export function ReadOnly({ allowed, scope }: { allowed: boolean | undefined; scope: string }) {
  if (allowed !== false) return null;
  return (
    <p class="read-only" role="note">
      You can look here but change nothing: your roles lack the scope <code>{scope}</code>. An administrator can grant
      it.
    </p>
  );
}
