// The pages of the queue, beside each other.

import { usePlace } from "../router";

const TABS = [
  ["/jobs", "Queues"],
  ["/jobs/search", "Search"],
  ["/jobs/dead", "Dead letters"],
  ["/jobs/schedules", "Schedules"],
  ["/jobs/limits", "Limits"],
] as const;

export function JobTabs() {
  const { path } = usePlace();
  return (
    <nav class="tabs" aria-label="Pages of the queue">
      {TABS.map(([to, label]) => (
        <a key={to} href={to} aria-current={path === to ? "page" : undefined}>
          {label}
        </a>
      ))}
    </nav>
  );
}
