// Shows the document that the page links to and lets a signed-in browser try its operations. Text from the document
// only ever becomes text nodes.
"use strict";

const element = (tag, attributes = {}, ...children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node[name] = value;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};

const resolve = (api, node) => {
  const reference = node?.$ref;
  if (!reference) return node ?? {};
  return resolve(api, reference.slice(2).split("/").reduce((at, key) => at?.[key], api));
};

// An example of a schema: what it says itself, else something of its type.
const example = (api, schema, depth = 0) => {
  const node = resolve(api, schema);
  if (node.example !== undefined) return node.example;
  if (node.default !== undefined) return node.default;
  if (node.enum) return node.enum[0];
  const alternative = node.oneOf?.[0] ?? node.allOf?.[0] ?? node.anyOf?.[0];
  if (alternative) return example(api, alternative, depth + 1);
  const type = Array.isArray(node.type) ? node.type.find((name) => name !== "null") : node.type;
  if (type === "object" || node.properties) {
    const fields = Object.entries(node.properties ?? {}).map(([name, field]) => [name, depth > 4 ? null : example(api, field, depth + 1)]);
    return Object.fromEntries(fields);
  }
  if (type === "array") return depth > 4 ? [] : [example(api, node.items, depth + 1)];
  if (type === "integer" || type === "number") return node.minimum ?? 0;
  if (type === "boolean") return true;
  if (node.format === "date-time") return "2026-01-31T12:00:00Z";
  return "text";
};

const typeName = (api, schema) => {
  const node = resolve(api, schema);
  const type = Array.isArray(node.type) ? node.type.join(" or ") : node.type ?? "";
  return [type, node.format, node.enum?.join(" | ")].filter(Boolean).join(", ");
};

const parameterTable = (api, parameters, inputs) => {
  const rows = parameters.map((parameter) => {
    const input = element("input", { ariaLabel: parameter.name, required: parameter.required === true });
    if (parameter.name === "Idempotency-Key") input.value = crypto.randomUUID?.() ?? String(Date.now());
    inputs.set(parameter, input);
    const name = element("code", {}, parameter.name + (parameter.required ? " *" : ""));
    const note = `${parameter.in}; ${typeName(api, parameter.schema)}. ${parameter.description ?? ""}`;
    return element("tr", {}, element("td", {}, name), element("td", {}, note), element("td", {}, input));
  });
  return element("table", {}, element("tbody", {}, ...rows));
};

const responseTable = (responses) => {
  const rows = Object.entries(responses).sort().map(([status, response]) =>
    element("tr", {}, element("td", {}, element("code", {}, status)), element("td", {}, response.description ?? "")));
  return element("table", {}, element("tbody", {}, ...rows));
};

const requestOf = (method, path, inputs, body) => {
  const query = new URLSearchParams();
  const headers = {};
  let url = path;
  for (const [parameter, input] of inputs) {
    if (input.value === "") continue;
    if (parameter.in === "path") url = url.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === "query") query.set(parameter.name, input.value);
    if (parameter.in === "header") headers[parameter.name] = input.value;
  }
  const options = { method: method.toUpperCase(), headers };
  if (body?.files?.[0]) {
    options.body = body.files[0];
    headers["Content-Type"] = body.files[0].type;
  } else if (body && body.type !== "file") {
    options.body = body.value;
    headers["Content-Type"] = "application/json";
  }
  return [query.size ? `${url}?${query}` : url, options];
};

const send = async (output, request) => {
  output.textContent = "…";
  try {
    const response = await fetch(...request);
    const lines = [`${response.status} ${response.statusText}`, ...[...response.headers].map(([name, value]) => `${name}: ${value}`), ""];
    const type = response.headers.get("content-type") ?? "";
    const text = type.startsWith("image/") ? `(${type})` : await response.text();
    lines.push(type.includes("json") ? JSON.stringify(JSON.parse(text), null, 2) : text);
    output.textContent = lines.join("\n");
  } catch (error) {
    output.textContent = String(error);
  }
};

const operationDetails = (api, path, method, operation) => {
  const inputs = new Map();
  const content = resolve(api, operation.requestBody).content;
  const json = content?.["application/json"];
  let body = null;
  if (json) body = element("textarea", { ariaLabel: "request body", spellcheck: false, value: JSON.stringify(example(api, json.schema), null, 2) });
  else if (content) body = element("input", { type: "file", ariaLabel: "request body", accept: Object.keys(content).join(",") });
  const good = Object.entries(operation.responses).find(([status]) => status.startsWith("2"));
  const answer = good?.[1].content?.["application/json"];
  const output = element("pre", { hidden: true });
  const button = element("button", { type: "button" }, "Try it");
  button.addEventListener("click", () => {
    output.hidden = false;
    send(output, requestOf(method, path, inputs, body));
  });
  const parameters = (operation.parameters ?? []).map((parameter) => resolve(api, parameter));
  return element("div", {},
    operation.description ? element("p", {}, operation.description) : null,
    parameters.length ? element("h3", {}, "Parameters") : null,
    parameters.length ? parameterTable(api, parameters, inputs) : null,
    body ? element("h3", {}, `Body: ${Object.keys(content).join(", ")}`) : null, body,
    element("h3", {}, "Answers"), responseTable(operation.responses),
    answer ? element("pre", {}, JSON.stringify(example(api, answer.schema), null, 2)) : null,
    button, output);
};

const operationEntry = (api, path, method, operation) => {
  const scopes = (operation.security ?? []).flatMap((requirement) => Object.values(requirement).flat()).join(" ");
  const entry = element("details", { id: operation.operationId },
    element("summary", {},
      element("span", { className: "method" }, method.toUpperCase()), element("span", { className: "path" }, path),
      element("span", { className: "summary" }, operation.summary ?? ""), element("span", { className: "scope" }, scopes)));
  entry.dataset.words = `${method} ${path} ${operation.summary ?? ""} ${scopes}`.toLowerCase();
  // Built when first opened: a large document stays quick.
  entry.addEventListener("toggle", () => {
    if (entry.children.length === 1) entry.append(operationDetails(api, path, method, operation));
  });
  return entry;
};

const show = (api) => {
  document.getElementById("about").textContent = `${api.info.description}\n\nVersion ${api.info.version}, OpenAPI ${api.openapi}`;
  const byTag = new Map((api.tags ?? []).map((tag) => [tag.name, []]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!byTag.has(tag)) byTag.set(tag, []);
      byTag.get(tag).push(operationEntry(api, path, method, operation));
    }
  }
  const sections = [...byTag].map(([tag, entries]) => element("section", {}, element("h2", {}, tag), ...entries));
  document.getElementById("operations").replaceChildren(...sections);
  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const entry of document.querySelectorAll("#operations details")) {
      entry.hidden = !words.every((word) => entry.dataset.words.includes(word));
    }
  });
  const named = document.getElementById(location.hash.slice(1));
  if (named?.tagName === "DETAILS") named.open = true;
};

fetch(document.querySelector("link[rel=service-desc]").href)
  .then((response) => response.ok ? response.json() : Promise.reject(new Error(`HTTP ${response.status}`)))
  .then(show)
  .catch((error) => { document.getElementById("operations").textContent = `The document could not be read: ${error.message}`; });
