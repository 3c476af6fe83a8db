### Parler avec les membres.

chat-placeholder = 🦜 …
chat-thinking = 🦜 Je réfléchis encore.
chat-waiting = { $ahead ->
    [0] 🦜 Ta question est la prochaine.
    [one] 🦜 Ta question attend son tour ; { $ahead } autre est arrivée avant elle.
   *[other] 🦜 Ta question attend son tour ; { $ahead } autres sont arrivées avant elle.
}
chat-delayed = 🦜 Une partie de moi est en panne. Ton message est gardé, et je répondrai dès que possible.
chat-cancelled = 🦜 Un administrateur a annulé cette réponse.
chat-database-down = 🦜 Je n’ai pas accès à ma mémoire pour l’instant. Ton message est gardé, et je répondrai dès que possible.
chat-ask-what = 🦜 Oui ? Écris-moi quelque chose.
chat-text-only = 🦜 Je ne lis que du texte. Écris-moi quelque chose et je répondrai.
chat-text-too-long = 🦜 C’est plus long que les { $limit } caractères que je peux lire d’un coup. Envoie-le en plusieurs morceaux.
chat-too-many = 🦜 Ça fait beaucoup d’un coup. Je réponds encore aux questions d’avant ; redemande dans un moment.
