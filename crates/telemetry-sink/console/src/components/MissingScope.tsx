// What somebody sees whose session lacks a scope: which one, and how an operator grants it.

import { Copy } from "./basics";
import { Icon } from "./Icon";

interface MissingProps {
  readonly scope: string;
  readonly granted: readonly string[];
  /** The same without a session. */
  readonly command: string;
  readonly retry: () => void;
}

/** Asked for at every sign-in, whatever is configured. */
const OF_SIGN_IN: ReadonlySet<string> = new Set(["openid", "profile", "email", "offline_access"]);
/** Who has it holds all that the console is granted. */
const ADMINISTRATOR = "identity:admin";

/** The gateway's `identity.scopes`, which replaces a default list, with one more. */
export function scopesLine(granted: readonly string[], scope: string): string | null {
  if (!granted.includes(ADMINISTRATOR)) return null;
  const wanted = [...granted.filter((one) => !OF_SIGN_IN.has(one) && one !== scope), scope];
  return `scopes = [${wanted.map((one) => JSON.stringify(one)).join(", ")}]`;
}

export function MissingScope({ scope, granted, command, retry }: MissingProps) {
  const line = scopesLine(granted, scope);
  return (
    <section class="panel missing-scope" aria-label="What is missing">
      <Icon name="lock" size={28} />
      <div>
        <h2>
          Your session lacks the scope <code>{scope}</code>
        </h2>
        <p>
          What a machine shows is no telemetry and has a scope of its own, which no sign-in carries unless an operator says
          so. An operator grants it like this:
        </p>
        <ol>
          <li>
            In <code>identity-provider.toml</code>, add <code>"{scope}"</code> to the <code>scopes</code> of the{" "}
            <code>[[clients]]</code> section whose <code>id</code> is that of the console.
          </li>
          <li>
            In <code>edge-gateway.toml</code>, name it in <code>scopes</code> of <code>[identity]</code>. The list replaces the
            default one, so all that is asked for must stand there{line ? ":" : "."}
            {line && (
              <span class="scope-line">
                <code>{line}</code> <Copy text={line} label="the line for edge-gateway.toml" />
              </span>
            )}
          </li>
          <li>Restart both, and give the account the role admin: members never hold this scope.</li>
          <li>Sign out and in again. A session keeps the scopes that it began with.</li>
        </ol>
        <p class="muted">
          On the machine itself <code>{command}</code> prints the same.
        </p>
        <button type="button" class="button" onClick={retry}>
          <Icon name="refresh" size={14} /> Try again
        </button>
      </div>
    </section>
  );
}
