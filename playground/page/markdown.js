// Discord's markdown as DOM nodes. Nothing here ever parses HTML.
import { el } from "./dom.js";
import { language } from "./i18n.js";

const INLINE = /(`+)([\s\S]+?)\1|\*\*([\s\S]+?)\*\*|__([\s\S]+?)__|~~([\s\S]+?)~~|\|\|([\s\S]+?)\|\||\*(\S(?:[\s\S]*?\S)?)\*|\b_(\S(?:[\s\S]*?\S)?)_\b|<@!?(\d+)>|<#(\d+)>|<\/([^:>]+):\d+>|<t:(\d+)(?::(\w))?>|\[([^\]\n]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<]+[^\s<.,:;"')\]])/g;

/** @param {string} text @param {{user(id):string, channel(id):string}} names */
export function render(text, names) {
  const root = document.createDocumentFragment();
  const pieces = text.split(/```(?:([\w+#.-]*)\n)?([\s\S]*?)(?:```|$)/g);
  for (let i = 0; i < pieces.length; i += 3) {
    if (pieces[i]) root.append(...blocks(pieces[i].replace(/^\n|\n$/g, ""), names));
    if (pieces[i + 2] !== undefined) root.append(el("pre", {}, el("code", {}, pieces[i + 2])));
  }
  return root;
}

function blocks(text, names) {
  const nodes = [];
  let lines = [];
  let list = null;
  const flush = () => {
    if (lines.length) nodes.push(el("p", {}, ...inline(lines.join("\n"), names)));
    lines = [];
    list = null;
  };
  for (const line of text.split("\n")) {
    const heading = line.match(/^#{1,3} (.+)/);
    const quote = line.match(/^> ?(.*)/);
    const item = line.match(/^\s*(?:[-*]|(\d+)\.) (.+)/);
    if (heading) { flush(); nodes.push(el("h3", {}, ...inline(heading[1], names))); }
    else if (quote) { flush(); nodes.push(el("blockquote", {}, ...inline(quote[1], names))); }
    else if (item) {
      const tag = item[1] ? "ol" : "ul";
      if (list?.tagName.toLowerCase() !== tag) { flush(); list = el(tag, item[1] ? { start: Number(item[1]) } : {}); nodes.push(list); }
      list.append(el("li", {}, ...inline(item[2], names)));
    } else { if (list) flush(); lines.push(line); }
  }
  flush();
  return nodes;
}

/** What stands within a line; the title of an embed is one. */
export function inline(text, names) {
  const nodes = [];
  let end = 0;
  for (const m of text.matchAll(INLINE)) {
    if (m.index > end) nodes.push(text.slice(end, m.index));
    end = m.index + m[0].length;
    if (m[2] !== undefined) nodes.push(el("code", {}, m[2]));
    else if (m[3]) nodes.push(el("strong", {}, ...inline(m[3], names)));
    else if (m[4]) nodes.push(el("u", {}, ...inline(m[4], names)));
    else if (m[5]) nodes.push(el("s", {}, ...inline(m[5], names)));
    else if (m[6]) nodes.push(el("details", {}, el("summary", {}, "…"), ...inline(m[6], names)));
    else if (m[7] ?? m[8]) nodes.push(el("em", {}, ...inline(m[7] ?? m[8], names)));
    else if (m[9]) nodes.push(el("span", { className: "mention" }, "@" + names.user(m[9])));
    else if (m[10]) nodes.push(el("span", { className: "mention" }, "#" + names.channel(m[10])));
    else if (m[11]) nodes.push(el("span", { className: "mention" }, "/" + m[11]));
    else if (m[12]) nodes.push(timestamp(Number(m[12]), m[13] ?? "f"));
    else if (m[14]) nodes.push(link(m[15], m[14]));
    else nodes.push(link(m[16], m[16]));
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

// Discord's styles of a timestamp.
const STYLES = {
  t: { timeStyle: "short" }, T: { timeStyle: "medium" }, d: { dateStyle: "short" }, D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" }, F: { dateStyle: "full", timeStyle: "short" },
};
const UNITS = [["year", 31557600], ["month", 2629800], ["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

function timestamp(seconds, style) {
  const date = new Date(seconds * 1000);
  const full = date.toLocaleString(language(), STYLES.F);
  if (style === "R") return refresh(el("time", { dateTime: date.toISOString(), title: full, "data-unix": String(seconds) }));
  return el("time", { dateTime: date.toISOString(), title: full }, date.toLocaleString(language(), STYLES[style] ?? STYLES.f));
}

/** Write how long ago, or how far ahead, the moment of a relative timestamp is. */
export function refresh(node) {
  const ahead = Number(node.dataset.unix) - Date.now() / 1000;
  const [unit, length] = UNITS.find(([, size]) => Math.abs(ahead) >= size) ?? UNITS.at(-1);
  node.textContent = new Intl.RelativeTimeFormat(language(), { numeric: "auto" }).format(Math.trunc(ahead / length), unit);
  return node;
}

const link = (href, text) => el("a", { href, target: "_blank", rel: "noopener noreferrer" }, text);
