"use strict";

// Shows /openapi.json. Everything is put into the page as text, never as HTML.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** `text` with what stands between backticks as code. */
function prose(text) {
  return (text || "").split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

function nameOf(reference) {
  return reference.split("/").pop();
}

/** A schema in a few words, with links to those that have a name. */
function inWords(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = nameOf(schema.$ref);
    return element("a", { href: "#schema-" + name }, name);
  }
  const several = schema.oneOf || schema.anyOf || schema.allOf;
  if (several) {
    const parts = several.flatMap((part, index) => [index ? (schema.allOf ? " and " : " or ") : "", inWords(part)]);
    return element("span", {}, ...parts);
  }
  if (schema.type === "array") return element("span", {}, "array of ", inWords(schema.items));
  const type = [].concat(schema.type || "any").join(" or ");
  const values = schema.enum ? ": " + schema.enum.map((value) => JSON.stringify(value)).join(", ") : "";
  return type + values;
}

function fields(schema) {
  const rows = Object.entries(schema.properties || {}).map(([name, field]) =>
    element("tr", {},
      element("td", {}, element("code", {}, name), (schema.required || []).includes(name) ? "" : " (optional)"),
      element("td", {}, inWords(field)),
      element("td", {}, ...prose(field.description))));
  if (rows.length === 0) return null;
  return element("table", {}, element("tbody", {}, ...rows));
}

function showSchema(schema) {
  const parts = schema.oneOf || schema.anyOf || schema.allOf || [];
  const limits = ["pattern", "minimum", "maximum", "minLength", "maxLength", "format"]
    .filter((key) => schema[key] !== undefined)
    .map((key) => key + ": " + schema[key]);
  return element("div", {},
    element("p", {}, ...prose(schema.description)),
    schema.properties || parts.length ? null : element("p", {}, inWords(schema), limits.length ? ", " + limits.join(", ") : ""),
    fields(schema),
    ...parts.map((part) => (part.$ref ? element("p", {}, inWords(part)) : showSchema(part))));
}

function contents(content) {
  return Object.entries(content || {}).map(([type, body]) =>
    element("div", {}, element("code", {}, type), " ", inWords(body.schema)));
}

function showOperation(path, method, operation) {
  const parameters = (operation.parameters || []).map((parameter) =>
    element("tr", {},
      element("td", {}, element("code", {}, parameter.name), parameter.required ? "" : " (optional)"),
      element("td", {}, parameter.in),
      element("td", {}, inWords(parameter.schema)),
      element("td", {}, ...prose(parameter.description))));
  const responses = Object.entries(operation.responses || {}).map(([status, response]) =>
    element("tr", {},
      element("td", {}, status),
      element("td", {}, ...prose(response.description)),
      element("td", {}, ...contents(response.content))));
  const needsToken = (operation.security || []).some((way) => Object.keys(way).length > 0);
  const opened = method === "get" && !path.includes("{");
  const shown = element("details", { id: operation.operationId },
    element("summary", {},
      element("span", { class: "method" + (method === "get" ? "" : " write") }, method.toUpperCase()),
      element("span", { class: "path" }, path), " ",
      element("span", { class: "summary" }, ...prose(operation.summary))),
    element("p", {}, ...prose(operation.description)),
    needsToken ? element("p", {}, "Needs the token.") : null,
    opened ? element("p", {}, element("a", { href: path }, "Open " + path)) : null,
    parameters.length ? element("table", {}, element("tbody", {}, ...parameters)) : null,
    operation.requestBody ? element("div", {}, element("h4", {}, "Body"), ...contents(operation.requestBody.content)) : null,
    element("h4", {}, "Answers"),
    element("table", {}, element("tbody", {}, ...responses)));
  shown.dataset.words = shown.textContent.toLowerCase();
  return shown;
}

function show(api) {
  document.getElementById("version").textContent = "Version " + api.info.version + ".";
  document.getElementById("description").append(...prose(api.info.description));
  const groups = new Map();
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(showOperation(path, method, operation));
    }
  }
  const place = document.getElementById("operations");
  place.replaceChildren();
  for (const [tag, operations] of groups) place.append(element("section", {}, element("h2", {}, tag), ...operations));
  const schemas = Object.entries(api.components.schemas).map(([name, schema]) =>
    element("details", { id: "schema-" + name }, element("summary", {}, name), showSchema(schema)));
  document.getElementById("schemas").append(...schemas);
  document.getElementById("search").addEventListener("input", (event) => {
    const word = event.target.value.trim().toLowerCase();
    for (const operation of place.querySelectorAll("details")) operation.hidden = !operation.dataset.words.includes(word);
    for (const section of place.querySelectorAll("section")) {
      section.hidden = !section.querySelector("details:not([hidden])");
    }
  });
  const openTarget = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target instanceof HTMLDetailsElement) {
      target.open = true;
      target.scrollIntoView();
    }
  };
  addEventListener("hashchange", openTarget);
  openTarget();
}

fetch("/openapi.json")
  .then((answer) => {
    if (!answer.ok) throw new Error("status " + answer.status);
    return answer.json();
  })
  .then(show)
  .catch((error) => {
    const problem = element("p", { class: "error" }, "/openapi.json cannot be read: " + error.message);
    document.getElementById("operations").replaceChildren(problem);
  });
