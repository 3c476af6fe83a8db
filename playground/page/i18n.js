// The page's own strings. What the bot says is the bot's.
const STRINGS = {
  en: {
    playground: "playground", speakAs: "Speak as", language: "Language", direct: "Direct messages",
    online: "Perroquet is here", offline: "Perroquet is away",
    away: "The bot is not connected. What you write is kept, and it answers when it is back.",
    absent: "Perroquet is not on this server. Whoever manages the server can invite it.",
    removeBot: "Remove Perroquet", inviteBot: "Invite Perroquet",
    lost: "The connection to the playground is lost; trying again …",
    placeholder: "Message {name}", placeholderDirect: "Message Perroquet", send: "Send",
    emptyTitle: "Talk to Perroquet",
    empty: "Mention it, and it answers. Type / to see its commands.",
    emptyButton: "Say hello", hello: "Hello! What is a parrot?", typing: "{name} is typing …",
    edited: "(edited)", privately: "Only you can see this", dismiss: "Dismiss",
    reply: "Reply", delete: "Delete", thread: "Thread", replyingTo: "Replying to {name}",
    attach: "Attach files", remove: "Remove", menu: "Channels", required: "This is required.",
    run: "Run", cancel: "Cancel", submit: "Submit", admin: "admin", member: "member",
    failed: "Perroquet did not answer in time. Is it running? Try again.",
    refused: "That was refused: {reason}", noCommands: "No command begins like that.",
    charactersLeft: "Characters left: {number}", tooMany: "Too long: {number} over the limit of 4,000 characters.",
  },
  fr: {
    playground: "terrain de jeu", speakAs: "Parler comme", language: "Langue", direct: "Messages privés",
    online: "Perroquet est là", offline: "Perroquet est absent",
    away: "Le bot n’est pas connecté. Ce que tu écris est gardé, et il répondra à son retour.",
    absent: "Perroquet n’est pas sur ce serveur. Qui gère le serveur peut l’inviter.",
    removeBot: "Retirer Perroquet", inviteBot: "Inviter Perroquet",
    lost: "La connexion au terrain de jeu est perdue ; nouvel essai…",
    placeholder: "Écrire dans {name}", placeholderDirect: "Écrire à Perroquet", send: "Envoyer",
    emptyTitle: "Parle à Perroquet",
    empty: "Mentionne-le, et il répond. Tape / pour voir ses commandes.",
    emptyButton: "Dire bonjour", hello: "Bonjour ! Qui es-tu ?", typing: "{name} écrit…",
    edited: "(modifié)", privately: "Toi seul peux voir ceci", dismiss: "Fermer",
    reply: "Répondre", delete: "Supprimer", thread: "Fil", replyingTo: "Réponse à {name}",
    attach: "Joindre des fichiers", remove: "Retirer", menu: "Salons", required: "À remplir.",
    run: "Lancer", cancel: "Annuler", submit: "Envoyer", admin: "admin", member: "membre",
    failed: "Perroquet n’a pas répondu à temps. Est-il lancé ? Réessaie.",
    refused: "C’est refusé : {reason}", noCommands: "Aucune commande ne commence ainsi.",
    charactersLeft: "Caractères restants : {number}", tooMany: "Trop long : {number} au-delà des 4 000 caractères.",
  },
};

let locale = localStorage.getItem("locale") || (navigator.language.startsWith("fr") ? "fr" : "en-US");

export const getLocale = () => locale;
export const language = () => (locale === "fr" ? "fr" : "en");

export function setLocale(wanted) {
  locale = wanted;
  localStorage.setItem("locale", wanted);
}

export function say(key, values = {}) {
  return STRINGS[language()][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** A command's or option's name or description in the chosen language. */
export function localised(object, field) {
  return object[`${field}_localizations`]?.[locale] ?? object[field];
}
