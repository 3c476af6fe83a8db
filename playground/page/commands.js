// The slash-command picker, its form of options, and modals.
import { $, el } from "./dom.js";
import { getLocale, localised, say } from "./i18n.js";
import * as api from "./api.js";

const SUBCOMMAND = 1, GROUP = 2, STRING = 3, INTEGER = 4, BOOLEAN = 5, NUMBER = 10, ATTACHMENT = 11;

/** Commands flattened to what can be run: "/perroquet here" with its path and options. */
export function runnable(commands, permissions) {
  const found = [];
  const walk = (command, node, path, label) => {
    const subs = (node.options ?? []).filter((option) => option.type === SUBCOMMAND || option.type === GROUP);
    if (!subs.length) found.push({ command, path, label, english: `/${[command, ...path].map((part) => part.name).join(" ")}`, description: localised(node, "description"), options: node.options ?? [] });
    subs.forEach((sub) => walk(command, sub, [...path, sub], `${label} ${localised(sub, "name")}`));
  };
  for (const command of commands) {
    if (command.type !== 1) continue;
    const needed = BigInt(command.default_member_permissions ?? 0);
    if (permissions !== null && (permissions & needed) !== needed) continue;
    walk(command, command, [], `/${localised(command, "name")}`);
  }
  // Those of one word first: they are asked for most, and none of them deletes anything.
  return found.sort((a, b) => a.path.length - b.path.length || a.label.localeCompare(b.label));
}

export class Picker {
  constructor(view) { this.view = view; this.items = []; this.isForm = false; this.index = 0; this.waiting = new Map(); }

  get isOpen() { return !$("picker").hidden; }

  close() { $("picker").hidden = true; $("picker").replaceChildren(); this.items = []; this.isForm = false; }

  suggest(text) {
    this.isForm = false;
    const commands = runnable(this.view.commands(), this.view.permissions());
    const typed = text.toLowerCase().trimEnd();
    this.items = commands.filter((item) => [item.label, item.english].some((label) => label.toLowerCase().startsWith(typed)));
    this.index = 0;
    const rows = this.items.map((item, number) => el("button", { type: "button", role: "option", "aria-selected": String(number === 0), onclick: () => this.choose(item) },
      el("b", {}, item.label), el("small", {}, item.description)));
    $("picker").replaceChildren(...(rows.length ? rows : [el("small", {}, say("noCommands"))]));
    $("picker").hidden = false;
  }

  /** Keys while the picker is open; returns whether the key was used. */
  key(event) {
    if (!this.isOpen || !this.items.length) return false;
    if (event.key === "Escape") { this.close(); return true; }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      this.index = (this.index + (event.key === "ArrowDown" ? 1 : -1) + this.items.length) % this.items.length;
      [...$("picker").children].forEach((row, number) => row.setAttribute("aria-selected", String(number === this.index)));
      $("picker").children[this.index].scrollIntoView({ block: "nearest" });
      return true;
    }
    if (event.key === "Enter" || event.key === "Tab") { this.choose(this.items[this.index]); return true; }
    return false;
  }

  choose(item) {
    this.view.clear();
    this.items = [];
    if (!item.options.length) { this.close(); this.run(item, [], []); return; }
    const inputs = item.options.map((option) => [option, this.input(item, option)]);
    const form = el("form", { className: "form", onsubmit: (event) => { event.preventDefault(); this.submit(item, inputs); } },
      el("b", {}, item.label), el("small", {}, item.description),
      ...inputs.map(([option, input]) => el("label", {}, el("span", { className: option.required ? "required" : "" }, localised(option, "name")), el("small", {}, localised(option, "description")), input)),
      el("div", { className: "actions" }, el("button", { type: "button", className: "secondary", onclick: () => this.close() }, say("cancel")), el("button", { className: "primary" }, say("run"))));
    $("picker").replaceChildren(form);
    $("picker").hidden = false;
    this.isForm = true;
    inputs[0][1].focus();
  }

  input(item, option) {
    if (option.choices?.length) {
      return el("select", {}, el("option", { value: "" }, "—"), ...option.choices.map((choice) => el("option", { value: choice.value }, localised(choice, "name"))));
    }
    if (option.type === BOOLEAN) return el("select", {}, el("option", { value: "" }, "—"), el("option", { value: "true" }, "✓"), el("option", { value: "false" }, "✗"));
    if (option.type === ATTACHMENT) return el("input", { type: "file" });
    const isNumber = option.type === INTEGER || option.type === NUMBER;
    const input = el("input", { type: isNumber ? "number" : "text", step: option.type === INTEGER ? 1 : "any", min: option.min_value, max: option.max_value });
    if (option.autocomplete) {
      const list = el("datalist", { id: `choices-${option.name}` });
      input.setAttribute("list", list.id);
      input.addEventListener("input", () => this.complete(item, option, input.value, list));
      input.addEventListener("focus", () => { this.complete(item, option, input.value, list); input.after(list); }, { once: true });
    }
    return input;
  }

  complete(item, option, value, list) {
    const nonce = crypto.randomUUID();
    this.waiting.set(nonce, (choices) => list.replaceChildren(...choices.map((choice) => el("option", { value: choice.value }, choice.name))));
    this.begin(4, item, [{ name: option.name, type: option.type, value, focused: true }], [], nonce);
  }

  completed(nonce, choices) { this.waiting.get(nonce)?.(choices); this.waiting.delete(nonce); }

  submit(item, inputs) {
    const options = [], files = [];
    for (const [option, input] of inputs) {
      const isEmpty = option.type === ATTACHMENT ? !input.files.length : input.value === "";
      if (isEmpty && option.required) { complain(input, say("required")); return; }
      if (isEmpty) continue;
      let value = input.value;
      if (option.type === ATTACHMENT) { value = `file:${files.length}`; files.push(input.files[0]); }
      else if (option.type === INTEGER || option.type === NUMBER) value = Number(value);
      else if (option.type === BOOLEAN) value = value === "true";
      options.push({ name: option.name, type: option.type, value });
    }
    this.close();
    this.run(item, options, files);
  }

  run(item, options, files) { this.view.goToEnd(); this.begin(2, item, options, files, crypto.randomUUID()); }

  begin(type, item, options, files, nonce) {
    const nested = item.path.reduceRight((inner, node) => [{ name: node.name, type: node.type, options: inner }], options);
    const data = { id: item.command.id, name: item.command.name, type: 1, options: nested };
    api.interact({ type, user_id: this.view.me().id, channel_id: this.view.channelId(), locale: getLocale(), nonce, data }, files);
  }
}

/** Say beside a field what it lacks, until something is put into it. */
function complain(input, text) {
  const label = input.closest("label");
  if (!label.querySelector(".missing")) {
    input.before(el("small", { className: "missing", role: "alert" }, text));
    for (const event of ["input", "change"]) input.addEventListener(event, () => label.querySelector(".missing")?.remove(), { once: true });
  }
  input.focus();
  label.scrollIntoView({ block: "nearest" });
}

/** Show a modal that the bot opened; what is filled in goes back as an interaction. */
export function openModal(modal, view) {
  const dialog = $("modal");
  const parts = modal.components.map((row) => ({ row, part: row.component ?? row.components[0] }));
  const inputs = parts.map(({ row, part }) => [row, part, field(part)]);
  dialog.replaceChildren(el("form", { method: "dialog", className: "form", onsubmit: () => submit() },
    el("h3", {}, modal.title),
    ...inputs.map(([row, part, input]) => labelled(row, part, input)),
    el("div", { className: "actions" }, el("button", { type: "button", className: "secondary", onclick: () => dialog.close() }, say("cancel")), el("button", { className: "primary" }, say("submit")))));
  dialog.showModal();

  function submit() {
    const files = [];
    const components = inputs.map(([row, part, input]) => {
      const answer = { type: part.type, custom_id: part.custom_id };
      if (part.type === 19) { answer.values = [...input.files].map((file) => `file:${files.push(file) - 1}`); }
      else if (part.type === 23) answer.value = input.checked;
      else if (part.type === 3) answer.values = [...input.selectedOptions].map((option) => option.value);
      else answer.value = input.value;
      return row.component ? { type: 18, component: answer } : { type: 1, components: [answer] };
    });
    api.interact({ type: 5, user_id: view.me().id, channel_id: view.channelId(), locale: getLocale(), nonce: crypto.randomUUID(), data: { custom_id: modal.custom_id, components } }, files);
  }
}

/** A field with its label: a tick stands before its words, anything else below them. */
function labelled(row, part, input) {
  const isTick = part.type === 23;
  const words = [el("span", { className: part.required ? "required" : "" }, row.label ?? part.label ?? ""), row.description ? el("small", {}, row.description) : null];
  return el("label", { className: isTick ? "check" : "" }, ...(isTick ? [input, ...words] : [...words, input]));
}

function field(part) {
  if (part.type === 19) return el("input", { type: "file", multiple: (part.max_values ?? 1) > 1, required: part.required });
  if (part.type === 23) return el("input", { type: "checkbox", checked: part.default });
  if (part.type === 3) return el("select", { required: part.required }, ...part.options.map((o) => el("option", { value: o.value, selected: o.default }, o.label)));
  const shared = { required: part.required, value: part.value ?? "", placeholder: part.placeholder ?? "", minLength: part.min_length ?? 0 };
  if (part.max_length) shared.maxLength = part.max_length;
  return part.style === 2 ? el("textarea", { rows: 4, ...shared }) : el("input", { type: "text", ...shared });
}
