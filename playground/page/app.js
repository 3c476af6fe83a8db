// The playground's page: state, events and wiring.
import { $, el, toast } from "./dom.js";
import { getLocale, language, say, setLocale } from "./i18n.js";
import * as api from "./api.js";
import { messageNode } from "./messages.js";
import { refresh } from "./markdown.js";
import { Picker, openModal } from "./commands.js";

// Everybody here has what Discord calls Nitro: 4,000 characters instead of 2,000.
const LIMIT = 4000, COUNTED_FROM = 200;
const MANAGE_GUILD = 32n, EPHEMERAL = 64, DIRECT = 1, THREAD = 11, BOT = "1000";
const state = { me: null, users: new Map(), guilds: [], channels: new Map(), history: new Map(), commands: [], online: false, unread: new Set(), replyTo: null, files: [], channelId: null };
let disconnect = null, typingTimer = null, size = "", staysAtEnd = true;

const channel = () => state.channels.get(state.channelId);
const guildOf = (id) => state.guilds.find((guild) => guild.id === state.channels.get(id)?.guild_id);
const isAbsent = () => guildOf(state.channelId)?.has_bot === false;
const nameOf = (c) => (c.type === DIRECT ? "Perroquet" : `# ${c.name}`);
const names = { user: (id) => state.users.get(id)?.global_name ?? "?", channel: (id) => state.channels.get(id)?.name ?? "?" };
const view = {
  get me() { return state.me; }, get channel() { return channel(); }, names,
  replyTo(message) { state.replyTo = message; drawReply(); $("text").focus(); },
  async openThread(message) {
    const thread = await api.openThread(message.channel_id, { user_id: state.me.id, name: message.content.replace(/<[@#][!&]?\d+>/g, "").trim().slice(0, 40) || "thread", message_id: message.id });
    if (thread) { state.channels.set(thread.id, thread); open(thread.id); }
  },
  component(message, data) {
    api.interact({ type: 3, user_id: state.me.id, channel_id: message.channel_id, message_id: message.id, locale: getLocale(), nonce: crypto.randomUUID(), data });
  },
};
const picker = new Picker({
  me: () => state.me, channelId: () => state.channelId, commands: () => (isAbsent() ? [] : state.commands),
  permissions: () => { const guild = guildOf(state.channelId); return guild ? BigInt(guild.permissions) : null; },
  goToEnd,
  clear: () => { $("text").value = ""; grow(); },
});

function start(user) {
  disconnect?.();
  localStorage.setItem("user", user);
  disconnect = api.connect(user, onFrame, onConnection);
}

function onConnection(isUp) {
  state.lost = !isUp;
  drawStatus();
}

const handlers = {
  HELLO(d) {
    Object.assign(state, { me: d.me, guilds: d.guilds, commands: d.commands, online: d.bot_online, replyTo: null });
    state.users = new Map(d.users.map((user) => [user.id, user]));
    state.channels = new Map([...d.guilds.flatMap((guild) => guild.channels), ...d.dms].map((c) => [c.id, c]));
    state.history = new Map(Object.entries(d.history));
    drawSpeakers();
    open(state.channels.has(state.channelId) ? state.channelId : d.guilds[0].channels[0].id);
  },
  MESSAGE_CREATE(d) {
    if (!state.history.has(d.channel_id)) state.history.set(d.channel_id, []);
    state.history.get(d.channel_id).push(d);
    if (d.channel_id !== state.channelId) { state.unread.add(d.channel_id); drawChannels(); return; }
    if (d.author.id === BOT) drawTyping(null);
    keepingBottom(() => { $("messages").querySelector(".empty")?.remove(); $("messages").append(messageNode(d, view)); });
  },
  MESSAGE_UPDATE(d) {
    const messages = state.history.get(d.channel_id) ?? [];
    const index = messages.findIndex((message) => message.id === d.id);
    if (index < 0) return;
    messages[index] = d;
    const node = $(`m${d.id}`);
    if (node) keepingBottom(() => node.replaceWith(messageNode(d, view)));
  },
  MESSAGE_DELETE(d) {
    const messages = state.history.get(d.channel_id) ?? [];
    state.history.set(d.channel_id, messages.filter((message) => message.id !== d.id));
    keepingBottom(() => $(`m${d.id}`)?.remove());
    if (d.channel_id === state.channelId && !$("messages").children.length) drawMessages();
  },
  MESSAGE_REACTION_ADD(d) { changeReaction(d, true); },
  MESSAGE_REACTION_REMOVE(d) { changeReaction(d, false); },
  TYPING_START(d) { if (d.channel_id === state.channelId) drawTyping(names.user(d.user_id)); },
  CHANNEL_CREATE(d) { state.channels.set(d.id, d); drawChannels(); },
  THREAD_CREATE(d) { state.channels.set(d.id, d); drawChannels(); },
  BOT_STATUS(d) { state.online = d.online; drawStatus(); },
  COMMANDS(d) { state.commands = d.commands; },
  AUTOCOMPLETE(d) { picker.completed(d.nonce, d.choices); },
  MODAL_OPEN(d) { openModal(d, { me: () => state.me, channelId: () => state.channelId }); },
  INTERACTION_FAILED() { toast(say("failed")); drawMessages(); },
  INTERACTION_DONE() { document.querySelectorAll("button.pending").forEach((b) => { b.classList.remove("pending"); b.disabled = false; }); },
  GUILD_BOT(d) { state.guilds.find((guild) => guild.id === d.guild_id).has_bot = d.has_bot; drawChannels(); drawStatus(); },
};
const onFrame = (t, d) => handlers[t]?.(d);

function changeReaction(d, isAdded) {
  const message = (state.history.get(d.channel_id) ?? []).find((m) => m.id === d.message_id);
  if (!message) return;
  let found = message.reactions.find((r) => r.emoji.name === d.emoji.name);
  if (!found) message.reactions.push((found = { emoji: d.emoji, users: [], count: 0 }));
  found.users = isAdded ? [...new Set([...found.users, d.user_id])] : found.users.filter((id) => id !== d.user_id);
  found.count = found.users.length;
  message.reactions = message.reactions.filter((r) => r.count);
  keepingBottom(() => $(`m${message.id}`)?.replaceWith(messageNode(message, view)));
}

/** Discord's client starts anew in another language, and has no ephemeral message then. */
function dropEphemeral() {
  for (const [id, messages] of state.history) state.history.set(id, messages.filter((message) => !(message.flags & EPHEMERAL)));
}

const isAtEnd = (list) => list.scrollHeight - list.scrollTop - list.clientHeight < 80;

const measured = (list) => `${list.clientWidth} ${list.clientHeight} ${list.scrollHeight}`;

/** The list stays at its end, whatever grows or shrinks, until the reader leaves it. */
function watchSize(list) {
  // Where the list scrolls because it was squeezed or has grown, that was not the reader.
  list.addEventListener("scroll", () => { if (measured(list) === size) staysAtEnd = isAtEnd(list); else settle(); });
  // Pictures come after their messages; this event does not bubble.
  list.addEventListener("load", settle, true);
  new ResizeObserver(settle).observe(list);
}

function settle() {
  const list = $("messages");
  if (staysAtEnd) list.scrollTop = list.scrollHeight;
  size = measured(list);
}

function goToEnd() { staysAtEnd = true; settle(); }

/** Change the list and stay at its end if the reader was there; else leave the reader in peace. */
function keepingBottom(change) { change(); settle(); }

function open(id) {
  state.channelId = id;
  state.unread.delete(id);
  state.replyTo = null;
  toggleDrawer(false);
  drawAll();
  if (matchMedia("(min-width: 721px)").matches) $("text").focus();
}

async function openDirect() {
  const direct = await api.openDirect(state.me.id);
  if (direct) { state.channels.set(direct.id, direct); open(direct.id); }
}

function drawAll() {
  document.documentElement.lang = language();
  document.querySelectorAll("[data-say]").forEach((node) => { node.textContent = say(node.dataset.say); });
  $("language").value = getLocale();
  $("title").textContent = nameOf(channel());
  $("text").placeholder = channel().type === DIRECT ? say("placeholderDirect") : say("placeholder", { name: `#${channel().name}` });
  $("text").setAttribute("aria-label", $("text").placeholder);
  $("send").textContent = say("send");
  $("menu").setAttribute("aria-label", say("menu"));
  $("drawer").setAttribute("aria-label", say("menu"));
  $("attach-label").title = say("attach");
  $("attach").setAttribute("aria-label", say("attach"));
  drawChannels(); drawMessages(); drawStatus(); drawReply(); drawFiles(); drawSpeakers(); drawCount();
}

function drawSpeakers() {
  $("speaker").replaceChildren(...[...state.users.values()].filter((user) => !user.bot).map((user) =>
    el("option", { value: user.id, selected: user.id === state.me.id }, `${user.global_name} (${say(user.is_admin ? "admin" : "member")})`)));
}

function drawChannels() {
  const button = (c) => el("button", { type: "button", className: `${c.type === THREAD ? "thread" : ""}${state.unread.has(c.id) ? " unread" : ""}`, "aria-current": c.id === state.channelId ? "page" : null, onclick: () => open(c.id) }, nameOf(c).replace("# ", c.type === THREAD ? "↳ " : "# "));
  const all = [...state.channels.values()];
  const nodes = state.guilds.flatMap((guild) => [
    el("h2", {}, guild.name), botSwitch(guild),
    ...all.filter((c) => c.guild_id === guild.id && c.type !== THREAD).flatMap((c) => [button(c), ...all.filter((t) => t.parent_id === c.id && t.type === THREAD).map(button)]),
  ]);
  const direct = all.find((c) => c.type === DIRECT);
  nodes.push(el("h2", {}, say("direct")), direct ? button(direct) : el("button", { type: "button", onclick: openDirect }, "Perroquet"));
  $("channels").replaceChildren(...nodes);
}

/** What who manages a server may do: remove the bot, and invite it again. */
function botSwitch(guild) {
  if (!(BigInt(guild.permissions) & MANAGE_GUILD)) return "";
  return el("button", { type: "button", className: "switch", onclick: () => api.setBot(guild.id, state.me.id, !guild.has_bot) }, say(guild.has_bot ? "removeBot" : "inviteBot"));
}

function drawMessages() {
  const messages = state.history.get(state.channelId) ?? [];
  $("messages").replaceChildren(...(messages.length ? messages.map((message) => messageNode(message, view)) : [empty()]));
  goToEnd();
  drawTyping(null);
}

function empty() {
  return el("li", { className: "empty" }, el("img", { src: "/page/parrot.svg", alt: "" }), el("strong", {}, say("emptyTitle")), el("p", {}, say("empty")),
    el("button", { type: "button", className: "primary", id: "hello", onclick: () => {
      $("text").value = (channel().type === DIRECT ? "" : "@Perroquet ") + say("hello");
      grow();
      $("text").focus();
    } }, say("emptyButton")));
}

function drawStatus() {
  $("status").textContent = say(state.online ? "online" : "offline");
  $("status").classList.toggle("online", state.online);
  $("banner").hidden = !state.lost && state.online && !isAbsent();
  $("banner").textContent = say(state.lost ? "lost" : state.online ? "absent" : "away");
}

function drawTyping(name) {
  clearTimeout(typingTimer);
  $("typing").textContent = name ? say("typing", { name }) : "";
  if (name) typingTimer = setTimeout(() => drawTyping(null), 10000);
}

function drawReply() {
  $("replying").hidden = !state.replyTo;
  if (!state.replyTo) return;
  $("replying").replaceChildren(say("replyingTo", { name: state.replyTo.author.global_name ?? "" }),
    el("button", { type: "button", className: "secondary", onclick: () => { state.replyTo = null; drawReply(); } }, say("cancel")));
}

function drawFiles() {
  $("files").hidden = !state.files.length;
  $("files").replaceChildren(...state.files.map((file, number) => el("span", { className: "chip" }, file.name,
    el("button", { type: "button", className: "icon", "aria-label": say("remove"), onclick: () => { state.files.splice(number, 1); drawFiles(); } }, "×"))));
}

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
  drawCount();
  if (text.value.startsWith("/") && !text.value.includes("\n")) picker.suggest(text.value);
  else if (!picker.isForm) picker.close();
}

/** Characters as Discord counts them, not as JavaScript does: an emoji is one. */
const left = () => LIMIT - [...withMentions($("text").value.trim())].length;

function drawCount() {
  const count = left();
  const number = Math.abs(count).toLocaleString(language());
  $("count").textContent = count < 0 ? say("tooMany", { number }) : count < COUNTED_FROM ? say("charactersLeft", { number }) : "";
  $("count").classList.toggle("over", count < 0);
  $("send").disabled = count < 0;
}

async function submit() {
  const content = withMentions($("text").value.trim());
  if (left() < 0) return;
  if (!content && !state.files.length) return;
  const files = state.files, replyTo = state.replyTo?.id;
  const kept = $("text").value;
  $("text").value = "";
  state.files = [];
  state.replyTo = null;
  drawFiles(); drawReply(); grow();
  const sent = await api.sayIn(state.channelId, { user_id: state.me.id, content, reply_to: replyTo }, files);
  if (!sent) { $("text").value = kept; state.files = files; drawFiles(); grow(); }
  goToEnd();
}

/** "@Perroquet" as people type it becomes the mention that Discord sends. */
function withMentions(text) {
  for (const user of state.users.values()) {
    text = text.replaceAll(new RegExp(`@${user.global_name}(?![\\p{L}\\p{N}])`, "giu"), `<@${user.id}>`);
  }
  return text;
}

function toggleDrawer(isOpen) {
  $("drawer").classList.toggle("open", isOpen);
  $("menu").setAttribute("aria-expanded", String(isOpen));
  $("scrim").hidden = !isOpen;
}

function addFiles(files) {
  state.files.push(...files);
  drawFiles();
}

$("composer").addEventListener("submit", (event) => { event.preventDefault(); submit(); });
$("text").addEventListener("input", grow);
$("text").addEventListener("keydown", (event) => {
  if (picker.key(event)) { event.preventDefault(); return; }
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); submit(); }
});
$("text").addEventListener("paste", (event) => { if (event.clipboardData.files.length) addFiles(event.clipboardData.files); });
$("attach").addEventListener("change", (event) => { addFiles(event.target.files); event.target.value = ""; });
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); if (event.dataTransfer.files.length) addFiles(event.dataTransfer.files); });
$("speaker").addEventListener("change", (event) => start(event.target.value));
$("language").addEventListener("change", (event) => { setLocale(event.target.value); dropEphemeral(); drawAll(); });
$("menu").addEventListener("click", () => toggleDrawer(!$("drawer").classList.contains("open")));
$("scrim").addEventListener("click", () => toggleDrawer(false));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") { toggleDrawer(false); picker.close(); } });

watchSize($("messages"));

// "3 minutes ago" does not stay true.
setInterval(() => document.querySelectorAll("time[data-unix]").forEach(refresh), 20000);

start(localStorage.getItem("user") ?? "1001");
