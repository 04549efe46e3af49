// Line icons on a 20-unit grid, drawn in the current text colour.

const PATHS = {
  fleet: "M3 5h14v4H3zM3 11h14v4H3zM6 7h.01M6 13h.01",
  traces: "M3 5h8M6 10h9M10 15h7",
  logs: "M4 5h12M4 8.5h9M4 12h12M4 15.5h6",
  explore: "M3 16V4M3 16h14M6 12l3-4 3 2.5L17 5",
  jobs: "M10 3l6.5 3.5L10 10 3.5 6.5zM3.5 10L10 13.5 16.5 10M3.5 13.5L10 17l6.5-3.5",
  mail: "M3 5h14v10H3zM3 6l7 5 7-5",
  shop: "M4 7h12l-1 9H5zM7 7a3 3 0 016 0",
  search: "M9 3.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM13 13l4 4",
  out: "M8 4H4v12h4M12 6.5L16 10l-4 3.5M7.5 10H16",
  right: "M8 5l5 5-5 5",
  down: "M5 8l5 5 5-5",
  left: "M12 5l-5 5 5 5",
  copy: "M7 7h9v9H7zM4 13V4h9",
  alert: "M10 4l7 12H3zM10 9v3M10 14h.01",
  refresh: "M16 8a6.3 6.3 0 10.3 4M16.5 4v4h-4",
  inbox: "M3 11l2.5-6h9L17 11v4H3zM3 11h4l1 2h4l1-2h4",
  close: "M5 5l10 10M15 5L5 15",
  check: "M4 10.5l4 4 8-9",
  pause: "M7 5v10M13 5v10",
  play: "M7 4.5l9 5.5-9 5.5z",
  clock: "M10 3a7 7 0 100 14 7 7 0 000-14zM10 6v4l3 2",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  zoomOut: "M9 3.5a5.5 5.5 0 100 11 5.5 5.5 0 000-11zM13 13l4 4M6.5 9h5",
  map: "M4 4h5v4H4zM11 12h5v4h-5zM4 13h3.5v3H4zM9 6h4.5v6M6 8v5",
  bell: "M5 14V9a5 5 0 0110 0v5l1.5 1.5h-13zM8.5 17h3",
  board: "M3 4h6v7H3zM11 4h6v4h-6zM11 10h6v6h-6zM3 13h6v3H3z",
  disk: "M4 6c0-3 12-3 12 0v8c0 3-12 3-12 0zM4 6c0 3 12 3 12 0M4 10c0 3 12 3 12 0",
  machine: "M6 6h8v8H6zM8 3v3M12 3v3M8 14v3M12 14v3M3 8h3M3 12h3M14 8h3M14 12h3",
  lock: "M5 9h10v8H5zM7 9V6.5a3 3 0 016 0V9M10 12.5v1.5",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  save: "M10 3v9M6.5 9l3.5 3.5L13.5 9M4 16h12",
  wrap: "M3 5h14M3 10h11a2.5 2.5 0 010 5H9M11 13l-2 2 2 2M3 15h2",
  gauge: "M3 14a7 7 0 0114 0M10 14l4-5",
  image: "M3 4h14v12H3zM3 13l4-4 4 4 2.5-2.5L17 14M13 7.5h.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width={size} height={size} aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
