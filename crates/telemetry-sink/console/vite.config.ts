import { defineConfig } from "vite";

// Everything the page loads is a file of its own: the sink serves the console
// under `default-src 'self'`, which refuses inline scripts, inline styles and data: URLs.
export default defineConfig({
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
  },
  server: {
    // `QUINTET_URL=http://127.0.0.1:PORT npm run dev` develops against a running sink.
    proxy: process.env["QUINTET_URL"]
      ? Object.fromEntries(
          ["/telemetry/", "/jobs/v1/", "/api/", "/.auth/"].map((prefix) => [
            prefix,
            { target: process.env["QUINTET_URL"] as string, secure: false, changeOrigin: true },
          ]),
        )
      : {},
  },
});
