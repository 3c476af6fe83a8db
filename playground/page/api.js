// How the page talks to the playground: deeds by POST, events by WebSocket.
import { say } from "./i18n.js";
import { toast } from "./dom.js";

async function send(method, path, payload, files = []) {
  const body = new FormData();
  body.append("payload_json", JSON.stringify(payload ?? {}));
  files.forEach((file, number) => body.append(`files[${number}]`, file, file.name));
  try {
    const response = await fetch(`/page-api${path}`, { method, body: method === "DELETE" || method === "PUT" ? undefined : body });
    if (response.ok) return response.status === 204 ? {} : await response.json();
    const error = await response.json().catch(() => ({}));
    toast(say("refused", { reason: error.message ?? response.status }));
  } catch {
    toast(say("lost"));
  }
  return null;
}

export const sayIn = (channel, payload, files) => send("POST", `/channels/${channel}/messages`, payload, files);
export const remove = (channel, message, user) => send("DELETE", `/channels/${channel}/messages/${message}?user_id=${user}`);
export const openDirect = (user) => send("POST", "/dms", { user_id: user });
export const openThread = (channel, payload) => send("POST", `/channels/${channel}/threads`, payload);
export const setBot = (guild, user, isThere) => send("POST", `/guilds/${guild}/bot`, { user_id: user, is_there: isThere });
export const interact = (payload, files) => send("POST", "/interactions", payload, files);
export const setReaction = (channel, message, emoji, user, isOn) =>
  send(isOn ? "PUT" : "DELETE", `/channels/${channel}/messages/${message}/reactions/${encodeURIComponent(emoji)}?user_id=${user}`);

/** Keep a connection open for as long as the returned function is not called. */
export function connect(user, onFrame, onState) {
  let socket, wait = 500, isOver = false;
  const open = () => {
    socket = new WebSocket(`ws://${location.host}/page-api/ws?user=${user}`);
    socket.onmessage = (event) => { wait = 500; onState(true); const { t, d } = JSON.parse(event.data); onFrame(t, d); };
    socket.onclose = () => {
      if (isOver) return;
      onState(false);
      setTimeout(open, wait);
      wait = Math.min(wait * 2, 8000);
    };
  };
  open();
  return () => { isOver = true; socket.close(); };
}
