// One message as a node.
import { el } from "./dom.js";
import { inline, render } from "./markdown.js";
import { language, say } from "./i18n.js";
import * as api from "./api.js";

const EPHEMERAL = 64, LOADING = 128;

export function messageNode(message, view) {
  const isPrivate = Boolean(message.flags & EPHEMERAL);
  const author = message.author;
  const head = el("div", { className: "head" },
    el("b", {}, author.global_name ?? author.username),
    author.bot ? el("span", { className: "badge" }, "bot") : null,
    el("time", { dateTime: message.timestamp }, time(message.timestamp)));
  const body = el("div", { className: "body" });
  if (message.flags & LOADING) body.append(el("p", { className: "pending" }, "…"));
  body.append(render(message.content, view.names));
  if (message.edited_timestamp) head.append(el("span", { className: "edited" }, say("edited")));
  message.embeds.forEach((embed) => body.append(embedNode(embed, message, view)));
  // A picture that an embed shows is not shown twice.
  const shown = message.attachments.filter((file) => !message.embeds.some((embed) => embed.image?.url === file.url));
  if (shown.length) body.append(attachments(shown));
  message.components.forEach((row) => body.append(componentRow(row, message, view)));
  if (message.reactions.length) body.append(reactions(message, view));
  if (isPrivate) body.append(el("p", { className: "note" }, say("privately") + " · ",
    el("a", { href: "#", onclick: (e) => { e.preventDefault(); api.remove(message.channel_id, message.id, view.me.id); } }, say("dismiss"))));
  return el("li", { className: `message${isPrivate ? " private" : ""}`, id: `m${message.id}` },
    quote(message, view), avatar(author), el("div", {}, head, body), isPrivate ? null : tools(message, view));
}

function avatar(user) {
  const node = el("span", { className: `avatar${user.bot ? " bot" : ""}`, style: `background:${user.avatar_color}`, "aria-hidden": "true" });
  node.append(user.bot ? el("img", { src: "/page/parrot.svg", alt: "", width: 32, height: 32 }) : (user.global_name ?? user.username)[0]);
  return node;
}

function quote(message, view) {
  const replied = message.referenced_message;
  if (!replied) return null;
  const text = `${replied.author.global_name ?? replied.author.username}: ${plain(replied.content, view.names).slice(0, 120)}`;
  return el("button", { type: "button", className: "quote-of", onclick: () => document.getElementById(`m${replied.id}`)?.scrollIntoView({ block: "center" }) }, text);
}

const plain = (text, names) => text.replace(/<@!?(\d+)>/g, (_, id) => `@${names.user(id)}`).replace(/<#(\d+)>/g, (_, id) => `#${names.channel(id)}`);

function tools(message, view) {
  const own = message.author.id === view.me.id;
  return el("div", { className: "tools" },
    el("button", { type: "button", onclick: () => view.replyTo(message) }, say("reply")),
    view.channel.type === 0 ? el("button", { type: "button", onclick: () => view.openThread(message) }, say("thread")) : null,
    el("button", { type: "button", "aria-label": "👍", onclick: () => api.setReaction(message.channel_id, message.id, "👍", view.me.id, true) }, "👍"),
    own ? el("button", { type: "button", onclick: () => api.remove(message.channel_id, message.id, view.me.id) }, say("delete")) : null);
}

function embedNode(embed, message, view) {
  const colour = embed.color ? `#${embed.color.toString(16).padStart(6, "0")}` : null;
  const node = el("article", { className: "embed", style: colour ? `border-left-color:${colour}` : "" });
  if (embed.title) node.append(el("h4", {}, ...inline(embed.title, view.names)));
  if (embed.description) node.append(render(embed.description, view.names));
  if (embed.fields?.length) {
    node.append(el("div", { className: "fields" }, ...embed.fields.map((field) =>
      el("div", { className: field.inline ? "" : "wide" }, el("b", {}, field.name), render(field.value, view.names)))));
  }
  const file = message.attachments.find((one) => one.url === embed.image?.url);
  if (embed.image) node.append(el("img", { src: embed.image.url, alt: embed.title ?? "", width: file?.width, height: file?.height }));
  if (embed.footer) node.append(el("footer", {}, embed.footer.text));
  return node;
}

function attachments(files) {
  return el("div", { className: "attachments" }, ...files.map((file) =>
    file.content_type?.startsWith("image/")
      ? el("img", { src: file.url, alt: file.description ?? file.filename, width: file.width, height: file.height })
      : el("a", { className: "chip", href: file.url, download: file.filename }, `📄 ${file.filename}`, el("small", {}, size(file.size)))));
}

function componentRow(row, message, view) {
  const node = el("div", { className: "buttons" });
  for (const part of row.components ?? []) node.append(part.type === 2 ? button(part, message, view) : select(part, message, view));
  return node;
}

function button(part, message, view) {
  const label = `${part.emoji?.name ? part.emoji.name + " " : ""}${part.label ?? ""}`;
  if (part.url) return el("a", { className: "chip", href: part.url, target: "_blank", rel: "noopener noreferrer" }, label);
  return el("button", { type: "button", className: `style${part.style}`, disabled: part.disabled, onclick: (event) => {
    event.target.classList.add("pending");
    event.target.disabled = true;
    view.component(message, { component_type: 2, custom_id: part.custom_id });
  } }, label);
}

function select(part, message, view) {
  return el("select", { disabled: part.disabled, "aria-label": part.placeholder ?? "", onchange: (event) =>
    view.component(message, { component_type: 3, custom_id: part.custom_id, values: [event.target.value] }) },
    el("option", { value: "" }, part.placeholder ?? "…"),
    ...(part.options ?? []).map((option) => el("option", { value: option.value, selected: option.default }, option.label)));
}

function reactions(message, view) {
  return el("div", { className: "reactions" }, ...message.reactions.map((reaction) =>
    el("button", { type: "button", onclick: () => api.setReaction(message.channel_id, message.id, reaction.emoji.name, view.me.id, !reaction.users.includes(view.me.id)) },
      `${reaction.emoji.name} ${reaction.count}`)));
}

const time = (iso) => new Date(iso).toLocaleTimeString(language(), { hour: "2-digit", minute: "2-digit" });
const size = (bytes) => (bytes < 1024 ? `${bytes} B` : bytes < 2 ** 20 ? `${(bytes / 1024).toFixed(1)} KiB` : `${(bytes / 2 ** 20).toFixed(1)} MiB`);
