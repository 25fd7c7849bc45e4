"use strict";
// All text comes from a program: it is put into the page as text nodes only.
const data = JSON.parse(document.getElementById("data").textContent);
const byNumber = new Map(data.executors.map(e => [e.number, e]));
const total = data.executors.reduce((sum, e) => sum + e.executed, 0);
const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 200, HEIGHT = 62, GAP_X = 26, GAP_Y = 58;

function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value);
  }
  e.append(...children);
  return e;
}

function drawn(tag, attributes = {}, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

function short(n) {
  for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= unit) return (n / unit).toFixed(n < 10 * unit ? 1 : 0) + name;
  }
  return String(n);
}

const share = e => total > 0 ? e.executed / total : 0;
const percent = e => (100 * share(e)).toFixed(share(e) < 0.1 ? 1 : 0) + " %";
const cut = (text, room) => text.length > room ? text.slice(0, room - 1) + "…" : text;

// The layout: each executor above its side executors, trees beside each other in rows.
function layout() {
  const children = new Map();
  const roots = [];
  for (const e of data.executors) {
    if (byNumber.has(e.parent)) children.set(e.parent, [...children.get(e.parent) ?? [], e]);
    else roots.push(e);
  }
  const weight = e => e.executed + (children.get(e.number) ?? []).reduce((sum, c) => sum + weight(c), 0);
  const place = (e, x, y) => {
    const below = children.get(e.number) ?? [];
    let at = x, deepest = y;
    for (const child of below) {
      const size = place(child, at, y + HEIGHT + GAP_Y);
      at = size.right + GAP_X;
      deepest = Math.max(deepest, size.bottom);
    }
    const right = Math.max(x + WIDTH, at - GAP_X);
    e.x = (x + right - WIDTH) / 2;
    e.y = y;
    return { right, bottom: Math.max(deepest, y + HEIGHT) };
  };
  const heaviest = roots.map(e => [weight(e), e]).sort((a, b) => b[0] - a[0]).map(pair => pair[1]);
  const room = Math.max(1100, Math.sqrt(data.executors.length) * (WIDTH + GAP_X) * 1.5);
  let x = 0, y = 0, bottom = 0;
  for (const root of heaviest) {
    let size = place(root, x, y);
    if (x > 0 && size.right > room) {
      x = 0;
      y = bottom + GAP_Y * 1.4;
      size = place(root, x, y);
    }
    x = size.right + GAP_X * 2;
    bottom = Math.max(bottom, size.bottom);
  }
}

function edges() {
  const all = [];
  for (const e of data.executors) {
    for (const exit of e.exits) {
      const target = byNumber.get(exit.target);
      if (!target) continue;
      const tree = target.parent === e.number;
      all.push({ from: e, to: target, kind: tree ? "tree" : "link", label: `exit ${exit.id}` + (tree ? `: ${short(target.entries)}` : "") });
    }
    const loop = byNumber.get(e.joins);
    if (loop) all.push({ from: e, to: loop, kind: "join", label: "" });
  }
  return all;
}

function route({ from, to, kind }) {
  const middle = e => e.x + WIDTH / 2;
  if (kind === "tree") {
    const [x1, y1, x2, y2] = [middle(from), from.y + HEIGHT, middle(to), to.y];
    const bend = (y2 - y1) / 2;
    return { path: `M${x1},${y1} C${x1},${y1 + bend} ${x2},${y2 - bend} ${x2},${y2}`, x: (x1 + x2) / 2, y: (y1 + y2) / 2 };
  }
  if (from === to) {
    const [x, y] = [from.x + WIDTH, from.y + HEIGHT / 2];
    return { path: `M${x},${y - 10} C${x + 34},${y - 26} ${x + 34},${y + 26} ${x},${y + 10}`, x: x + 28, y };
  }
  // From side to side, so that these do not run along those of the tree.
  const right = middle(to) >= middle(from);
  const x1 = from.x + (right ? WIDTH : 0), y1 = from.y + HEIGHT / 2;
  const beside = Math.abs(middle(to) - middle(from)) < WIDTH;
  const x2 = to.x + (right === beside ? WIDTH : 0), y2 = to.y + HEIGHT / 2 + (kind === "join" ? 9 : -9);
  const out = (right ? 1 : -1) * 40, into = (right === beside ? 1 : -1) * 40;
  return { path: `M${x1},${y1} C${x1 + out},${y1} ${x2 + into},${y2} ${x2},${y2}`, x: (x1 + x2 + out + into) / 2, y: (y1 + y2) / 2 };
}

const world = document.getElementById("world");
const canvas = document.getElementById("canvas");
const nodes = new Map();
const lines = [];

function draw() {
  layout();
  const marker = kind => drawn("marker", { id: `arrow-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: "userSpaceOnUse", orient: "auto" },
    drawn("path", { d: "M0,0 L8,4 L0,8 z" }));
  canvas.prepend(drawn("defs", {}, marker("tree"), marker("link"), marker("join")));
  for (const edge of edges()) {
    const { path, x, y } = route(edge);
    const g = drawn("g", { class: `edge ${edge.kind}` }, drawn("path", { d: path }), drawn("text", { x, y }, edge.label));
    lines.push({ ...edge, g });
    world.append(g);
  }
  for (const e of data.executors) {
    const heat = Math.round(100 * Math.sqrt(share(e)));
    const rect = drawn("rect", { width: WIDTH, height: HEIGHT });
    rect.style.fill = `color-mix(in oklab, var(--hot) ${heat}%, var(--cool))`;
    const g = drawn("g", { class: e.parent ? "node" : "node root", transform: `translate(${e.x},${e.y})`, tabindex: 0, "data-number": e.number },
      rect,
      drawn("text", { x: 9, y: 18, class: "name" }, cut(`#${e.number} ${e.function}`, 28)),
      drawn("text", { x: 9, y: 35 }, cut(`${e.kind} ${e.place}`, 31)),
      drawn("text", { x: 9, y: 52, class: "figures" }, cut(`${short(e.entries)} entries, ${short(e.passes)} passes, ${percent(e)}`, 38)),
      drawn("title", {}, `${e.function} ${e.place}`));
    const cold = e.exits.filter(exit => !exit.target && exit.taken > 0);
    if (cold.length > 0) {
      const taken = cold.reduce((sum, exit) => sum + exit.taken, 0), warm = Math.max(...cold.map(exit => exit.temperature));
      g.append(drawn("text", { x: WIDTH - 3, y: HEIGHT + 13, class: "out" }, `⇣ ${short(taken)} to the interpreter, ${warm} warm`));
    }
    g.addEventListener("click", () => select(e, false));
    g.addEventListener("keydown", event => { if (event.key === "Enter") select(e, false); });
    nodes.set(e, g);
    world.append(g);
  }
}

// Moving and zooming.
const view = { x: 0, y: 0, scale: 1 };
const show = () => world.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.scale})`);

function fit() {
  const size = world.getBBox(), room = canvas.getBoundingClientRect();
  if (size.width === 0 || room.width === 0) return;
  view.scale = Math.min(1.25, (room.width - 40) / size.width, (room.height - 70) / size.height);
  view.x = (room.width - size.width * view.scale) / 2 - size.x * view.scale;
  view.y = Math.max(20, (room.height - size.height * view.scale) / 3) - size.y * view.scale;
  show();
}

// Brings an executor into view, large enough to be read.
function bring(e) {
  const room = canvas.getBoundingClientRect();
  view.scale = Math.max(view.scale, 0.8);
  view.x = room.width / 2 - (e.x + WIDTH / 2) * view.scale;
  view.y = room.height / 3 - (e.y + HEIGHT / 2) * view.scale;
  show();
}

canvas.addEventListener("wheel", event => {
  event.preventDefault();
  const room = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - room.left, event.clientY - room.top];
  const scale = Math.min(4, Math.max(0.03, view.scale * Math.exp(-event.deltaY / 500)));
  view.x = x - (x - view.x) * scale / view.scale;
  view.y = y - (y - view.y) * scale / view.scale;
  view.scale = scale;
  show();
}, { passive: false });
canvas.addEventListener("pointerdown", event => {
  const start = { x: event.clientX - view.x, y: event.clientY - view.y };
  const move = event => { view.x = event.clientX - start.x; view.y = event.clientY - start.y; show(); };
  const end = () => { canvas.classList.remove("dragging"); removeEventListener("pointermove", move); };
  canvas.classList.add("dragging");
  addEventListener("pointermove", move);
  addEventListener("pointerup", end, { once: true });
});
document.getElementById("fit").addEventListener("click", fit);

// The panel.
const panel = document.getElementById("panel");
let selected = null, sheet = "source";

const to = number => byNumber.has(number)
  ? element("a", { onclick: () => select(byNumber.get(number)) }, `#${number}`)
  : document.createTextNode(number ? `#${number}` : "");

function superblock(text) {
  const code = element("div", { class: "code" });
  for (const line of text.split("\n")) {
    const quiet = /^(s\d+: |object |frame |param \d+ shape)/.test(line);
    code.append(element("div", quiet ? { class: "snapshot" } : {}, line || " "));
  }
  return code;
}

const sheets = {
  source: ["Source", e => {
    const own = new Map();
    for (const [file, line] of e.lines) own.set(file, [...own.get(file) ?? [], line]);
    const parts = [];
    for (const [index, wanted] of own) {
      const file = data.files[index];
      parts.push(element("h3", {}, file.name));
      if (!file.text) {
        parts.push(element("p", {}, `The source is not at hand. Lines: ${wanted.join(", ")}`));
        continue;
      }
      const code = element("div", { class: "code" });
      file.text.forEach((text, i) => {
        const line = element("div", wanted.includes(i + 1) ? { class: "here" } : {}, element("span", { class: "gutter" }, String(i + 1)), text);
        code.append(line);
      });
      parts.push(code);
    }
    return parts;
  }],
  superblock: ["Superblock", e => [element("div", { class: "columns" },
    element("div", {}, element("h3", {}, "as recorded"), superblock(e.before ?? "not kept")),
    element("div", {}, element("h3", {}, "optimized"), superblock(e.after)))]],
  code: ["Code", e => {
    if (!e.code) return [element("p", {}, data.engine === "Jit" ? "The disassembler is not built in (cargo feature disasm)." : ""), element("div", { class: "code" }, e.listing ?? "")];
    const code = element("div", { class: "code" });
    for (const part of e.code) {
      code.append(element("div", { class: part.rare ? "op rare" : "op" }, part.title));
      for (const [offset, text] of part.lines) {
        const [instruction, comment] = text.split(/(?=; )/);
        code.append(element("div", {}, element("span", { class: "gutter" }, offset.toString(16)), instruction, element("span", { class: "comment" }, comment ?? "")));
      }
    }
    return [code];
  }],
  exits: ["Exits", e => {
    const head = ["Exit", "Snapshot", "Resumes at", "To the interpreter", "Temperature", "Leads to"];
    const rows = e.exits.map(exit => element("tr", {},
      element("td", {}, String(exit.id)), element("td", {}, exit.name), element("td", {}, exit.place),
      element("td", { class: "number" }, exit.taken.toLocaleString("en")), element("td", { class: "number" }, String(exit.temperature)),
      element("td", {}, to(exit.target))));
    const cell = (text, i) => element("th", i === 3 || i === 4 ? { class: "number" } : {}, text);
    return [element("table", {}, element("tr", {}, ...head.map(cell)), ...rows)];
  }],
};

function select(e, moves = true) {
  selected = e;
  if (e && moves) bring(e);
  for (const [other, g] of nodes) g.classList.toggle("selected", other === e);
  for (const line of lines) line.g.classList.toggle("touched", line.from === e || line.to === e);
  history.replaceState(null, "", e ? `#${e.number}` : "#");
  render();
}

function render() {
  if (!selected) return overview();
  const e = selected;
  const about = element("div", { class: "about" }, element("h2", {}, `#${e.number} ${e.function}`),
    element("p", {}, `${e.kind} at ${e.place}, pc ${e.pc}; ends: ${e.stop}`, ...(e.parent ? ["; side exit of ", to(e.parent)] : []), ...(e.joins ? ["; goes back into ", to(e.joins)] : [])),
    element("p", {}, `${e.entries.toLocaleString("en")} entries, ${e.passes.toLocaleString("en")} passes, about ${e.executed.toLocaleString("en")} instructions (${percent(e)}); ${e.microOps} micro-ops, ${e.bytes.toLocaleString("en")} bytes of code`));
  const tabs = element("nav", { role: "tablist" },
    element("button", { type: "button", onclick: () => select(null) }, "All"),
    ...Object.entries(sheets).map(([name, [title]]) =>
      element("button", { type: "button", role: "tab", "aria-selected": name === sheet, onclick: () => { sheet = name; render(); } }, title)));
  const content = element("div", { class: "sheet", id: "sheet" }, ...sheets[sheet][1](e));
  panel.replaceChildren(about, tabs, content);
  content.querySelector(".here")?.scrollIntoView({ block: "center" });
}

function overview() {
  const head = ["", "Function", "Place", "Kind", "Entries", "Passes", "Instructions"];
  const number = i => i > 3 ? { class: "number" } : {};
  const rows = [...data.executors].sort((a, b) => b.executed - a.executed).filter(matches).map(e => {
    const cells = [`#${e.number}`, e.function, e.place, e.kind, e.entries.toLocaleString("en"), e.passes.toLocaleString("en"), percent(e)];
    return element("tr", { class: "pick", onclick: () => select(e) }, ...cells.map((text, i) => element("td", number(i), text)));
  });
  const table = element("table", {}, element("tr", {}, ...head.map((text, i) => element("th", number(i), text))), ...rows);
  panel.replaceChildren(element("div", { class: "sheet", id: "sheet" }, table));
}

// The filter.
const filter = document.getElementById("filter");
function matches(e) {
  const wanted = filter.value.trim().toLowerCase();
  return [`#${e.number}`, e.function, e.place, e.kind].some(text => text.toLowerCase().includes(wanted));
}
filter.addEventListener("input", () => {
  for (const [e, g] of nodes) g.classList.toggle("faded", !matches(e));
  for (const line of lines) line.g.classList.toggle("faded", !matches(line.from) && !matches(line.to));
  if (!selected) overview();
});

document.getElementById("summary").textContent =
  `${data.executors.length} executors, engine ${data.engine}, about ${total.toLocaleString("en")} instructions executed in them`;
draw();
fit();
const choose = () => select(byNumber.get(Number(location.hash.slice(1))) ?? null);
addEventListener("hashchange", choose);
choose();
