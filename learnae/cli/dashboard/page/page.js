"use strict";
// All texts become text of the page by textContent: none of them is ever read as HTML. Plotly gets its texts escaped by the server.

const LOOK_MS = 2000;
const byId = (id) => document.getElementById(id);
let state = null;
let tag = "";
let failures = 0;

function made(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function ofBytes(count) {
  if (count === null || count === undefined) return "-";
  let unit = 0;
  while (count >= 999.5 && unit < 4) { count /= 1000; unit += 1; }
  return `${count < 9.95 && unit ? count.toFixed(1) : count.toFixed(0)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

function ago(seconds) {
  for (const [unit, size, end] of [["s", 1, 100], ["min", 60, 6000], ["h", 3600, 172800]]) {
    if (seconds < end) return `${Math.max(0, Math.round(seconds / size))} ${unit}`;
  }
  return `${Math.round(seconds / 86400)} d`;
}

const counted = (count) => (count === null || count === undefined ? "-" : count.toLocaleString("en"));
const moment = (at) => (at === null ? "-" : new Date(at * 1000).toLocaleTimeString("en-GB"));
const since = (at) => (at === null || at === undefined ? "-" : `${ago(Date.now() / 1000 - at)} ago`);

function table(place, columns, rows, empty) {
  const body = [];
  for (const row of rows) {
    const line = made("tr");
    columns.forEach(([, className, value]) => line.append(made("td", className, value(row))));
    body.push(line);
  }
  if (!body.length) { byId(place).replaceChildren(made("p", "empty", empty)); return; }
  const head = made("tr");
  columns.forEach(([name, className]) => head.append(made("th", className, name)));
  const whole = made("table");
  whole.append(made("thead"), made("tbody"));
  whole.tHead.append(head);
  whole.tBodies[0].append(...body);
  byId(place).replaceChildren(whole);
}

function stateOf(home) {
  if (home.error) return ["cannot be read", "bad"];
  if (!home.running) return ["not running", "dim"];
  if ("waiting" in home) return ["sensor, running", "good"];
  return home.node_pid === null ? ["its node is down", "bad"] : ["running", "good"];
}

function factsOf(home) {
  if (home.error) return [["error", home.error, "bad"]];
  if (!home.last_round) return [["swarm", home.swarm || "-"], ["role", home.role || "-"], ["rounds", "none yet"]];
  const last = home.last_round;
  const facts = [
    ["swarm", `${home.swarm || "-"}, ${home.role}`],
    ["round", `${counted(home.rounds)}, ${since(last.at)}: ${last.outcome}`],
    ["age", `${counted(home.age)} steps`],
    ["lineage", home.lineage ? `${home.lineage.slice(0, 8)}, ${home.provisional ? "provisional" : "established"}` : "none yet"],
    ["updates", `${counted(home.updates.merged)} merged, ${counted(home.updates.refused)} refused, ${counted(home.updates.failed)} not fetched`],
    ["bytes", `${ofBytes(home.bytes.fetched)} in, ${ofBytes(home.bytes.published)} out`],
  ];
  if (home.updates.lost) facts.push(["lost", `${counted(home.updates.lost)} updates, since a plugin here failed`, "bad"]);
  if (home.splits.length) facts.push(["split", `others are established in ${home.splits.join(", ")}`, "bad"]);
  if (home.evaluation) {
    facts.push(["measured", Object.entries(home.evaluation.metrics).map(([name, value]) => `${name} ${Number(value).toPrecision(4)}`).join(", ")]);
  }
  return facts;
}

function drawHomes() {
  byId("homes").replaceChildren(...state.homes.map((home) => {
    const card = made("div", "card");
    card.style.borderLeftColor = home.colour;
    const [word, className] = stateOf(home);
    const title = made("h3", "", "");
    title.append(made("span", "", home.name), made("span", className, word));
    const list = made("dl");
    for (const [name, value, how] of factsOf(home)) list.append(made("dt", "", name), made("dd", how || "", value));
    card.title = home.home;
    card.append(title, list);
    return card;
  }));
}

// ---- figures: the server says what is drawn, the page in which colours

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const localDate = (seconds) => new Date(seconds * 1000 - new Date(seconds * 1000).getTimezoneOffset() * 60000).toISOString().slice(0, 23);

function layoutOf(figure, over) {
  const axis = { gridcolor: style("--rule"), linecolor: style("--rule"), zerolinecolor: style("--rule"), automargin: true };
  const layout = figure.layout;
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: style("--ink"), size: 12, family: "system-ui, DejaVu Sans, sans-serif" },
    hoverlabel: { bgcolor: style("--card"), bordercolor: style("--dim"), font: { color: style("--ink") }, align: "left" },
    legend: { orientation: "h", y: -0.2, x: 0 },
    margin: { l: 55, r: 12, t: 8, b: 40 },
    uirevision: over,
    ...layout,
    xaxis: { ...axis, ...(over === "steps" ? { title: { text: "optimizer steps" } } : {}), ...(layout.xaxis || {}) },
    yaxis: { ...axis, ...(layout.yaxis || {}) },
  };
}

function draw(element, figure, over) {
  const traces = figure.data.map((trace) => {
    if (over === "graph") return trace;
    const { steps, ...rest } = trace;
    return { ...rest, x: over === "steps" ? steps : trace.x.map(localDate) };
  });
  return Plotly.react(element, traces, layoutOf(figure, over), { displayModeBar: false, responsive: true });
}

function drawOrSay(element, figure, over, empty) {
  if (figure && figure.data.length) {
    if (!element.classList.contains("js-plotly-plot")) element.replaceChildren();
    draw(element, figure, over);
  } else {
    if (element.classList.contains("js-plotly-plot")) { Plotly.purge(element); element.classList.remove("js-plotly-plot"); }
    element.replaceChildren(made("p", "empty", empty));
  }
}

function drawGraphs() {
  const place = byId("graphs");
  while (place.children.length > state.graphs.length) { Plotly.purge(place.lastChild.lastChild); place.lastChild.remove(); }
  state.graphs.forEach((graph, at) => {
    if (!place.children[at]) {
      const holder = made("div");
      holder.append(made("p", "note"), made("div", "graph"));
      place.append(holder);
    }
    const [title, drawing] = place.children[at].children;
    title.textContent = state.graphs.length > 1 ? `swarm ${graph.swarm}` : "";
    draw(drawing, graph, "graph");
  });
}

function drawMeasured() {
  const choice = byId("metric");
  const names = state.measured.map((figure) => figure.metric);
  if (names.join("\n") !== Array.from(choice.options, (option) => option.value).join("\n")) {
    const before = choice.value;
    choice.replaceChildren(...names.map((name) => { const option = made("option", "", name); option.value = name; return option; }));
    if (names.includes(before)) choice.value = before;
  }
  choice.hidden = names.length < 2;
  const figure = state.measured.find((one) => one.metric === choice.value);
  drawOrSay(byId("measured"), figure, document.querySelector(".axis").value,
    "Nothing was measured yet. A loop of learnae run measures with its evaluate; any other loop calls swarm.log_metrics().");
}

function drawTables() {
  table("lineages", [
    ["swarm", "text", (one) => one.swarm], ["lineage", "short", (one) => one.lineage], ["peers", "text", (one) => one.peers.join(", ")],
    ["", "short", (one) => (one.split ? "the swarm is split" : "")],
  ], state.lineages, "No lineage yet.");
  table("reasons", [
    ["updates", "number", (one) => counted(one.count)], ["stage", "short", (one) => one.stage], ["reason", "text", (one) => one.reason],
    ...(state.reasons.some((one) => one.meaning) ? [["what that means", "text dim", (one) => one.meaning]] : []),
  ], state.reasons, "Every update that was tried was merged.");
  table("refusals", [
    ["when", "short", (one) => moment(one.at)], ["by", "short", (one) => one.home], ["of", "short", (one) => one.peer],
    ["update", "number", (one) => counted(one.number)], ["stage", "short", (one) => one.stage], ["reason", "text", (one) => one.reason],
  ], state.refusals, "");
  table("messages", [
    ["messages", "number", (one) => counted(one.count)], ["reason", "short", (one) => one.reason], ["what that means", "text dim", (one) => one.meaning],
  ], state.messages, "None.");
  table("storage", [
    ["peer", "short", (one) => one.name], ["home", "number", (one) => ofBytes(one.disk.home_bytes)],
    ["own updates kept", "number", (one) => `${counted(one.disk.own_updates)}, ${ofBytes(one.disk.own_updates_bytes)}`],
    ["allowed", "number", (one) => ofBytes(one.disk.quota_bytes)], ["storages", "text", (one) => one.storages.join(", ")],
    ["announcers", "text", (one) => one.announcers.join(", ")],
    ["connected", "text", (one) => (one.connections_at === null ? "-" : `${one.connected} of ${one.connections_known}`)],
    ["reached at", "text", (one) => one.addresses.join(", ") || "-"],
  ], state.homes.filter((home) => home.disk), "No home with a history.");
  table("connections", [
    ["peer", "short", (one) => one.home], ["to", "short", (one) => one.peer], ["found by", "short", (one) => one.found_by || (one.inbound ? "itself" : "-")],
    ["answers", "number", (one) => (one.rtt_seconds === null ? "-" : `${Math.round(one.rtt_seconds * 1000)} ms`)],
    ["in", "number", (one) => ofBytes(one.bytes_in)], ["out", "number", (one) => ofBytes(one.bytes_out)],
    ["connection", "text", (one) => (one.connected ? `${one.relayed ? "relayed, " : ""}${one.address}` : one.why || "not connected")],
  ], state.connections, "");
}

function say() {
  const running = state.homes.filter((home) => home.running).length;
  const swarms = [...new Set(state.homes.map((home) => home.swarm).filter(Boolean))].join(", ");
  byId("summary").textContent = `${state.homes.length} ${state.homes.length === 1 ? "home" : "homes"}, ${running} running; swarm ${swarms || "unknown"}; as of ${moment(state.at)}`;
  const down = state.homes.filter((home) => home.error || (home.running && home.node_pid === null)).map((home) => home.name);
  const split = state.lineages.some((one) => one.split);
  const troubles = [...(down.length ? [`look at ${down.join(", ")}`] : []), ...(split ? ["the swarm is split"] : [])];
  byId("health").textContent = troubles.join("; ");
  byId("health").className = troubles.length ? "bad" : "";
}

function drawAll() {
  if (!state) return;
  say();
  drawHomes();
  drawGraphs();
  drawMeasured();
  drawOrSay(byId("traffic"), state.traffic, "x", "No round was finished yet.");
  drawTables();
  document.body.dataset.drawn = String(state.at);
}

async function look() {
  try {
    const answer = await fetch("state.json", { headers: tag ? { "If-None-Match": tag } : {}, cache: "no-store" });
    if (answer.status === 200) { tag = answer.headers.get("ETag") || ""; state = await answer.json(); drawAll(); }
    else if (answer.status !== 304) throw new Error(`the server says ${answer.status}`);
    failures = 0;
  } catch (error) {
    failures += 1;
    if (failures > 1) { byId("health").textContent = "learnae dashboard does not answer: what is shown is old"; byId("health").className = "bad"; }
  }
  setTimeout(look, LOOK_MS);
}

byId("metric").addEventListener("change", drawMeasured);
document.querySelector(".axis").addEventListener("change", drawMeasured);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
look();
