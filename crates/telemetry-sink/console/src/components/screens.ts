// The screens of the rail, with the key that leads to each after `g`.

import type { IconName } from "./Icon";

interface Entry {
  readonly path: string;
  readonly label: string;
  readonly icon: IconName;
  readonly key: string;
}

export const ENTRIES: readonly Entry[] = [
  { path: "/", label: "Fleet", icon: "fleet", key: "f" },
  { path: "/dashboards", label: "Boards", icon: "board", key: "b" },
  { path: "/traces", label: "Traces", icon: "traces", key: "t" },
  { path: "/logs", label: "Logs", icon: "logs", key: "l" },
  { path: "/explore", label: "Metrics", icon: "explore", key: "m" },
  { path: "/map", label: "Map", icon: "map", key: "p" },
  { path: "/alerts", label: "Alerts", icon: "bell", key: "a" },
  { path: "/storage", label: "Storage", icon: "disk", key: "d" },
  { path: "/machine", label: "Machine", icon: "machine", key: "n" },
  { path: "/jobs", label: "Jobs", icon: "jobs", key: "j" },
  { path: "/mail", label: "Mail", icon: "mail", key: "i" },
  { path: "/shop", label: "Shop", icon: "shop", key: "s" },
];
