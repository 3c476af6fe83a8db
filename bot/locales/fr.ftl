### Ce que dit Perroquet en français. en.ftl a les mêmes clés ; un test les compare.

## Conversation

chat-placeholder = 🦜 …
chat-delayed = 🦜 Une partie de moi est en panne. Ton message est gardé, et la réponse viendra d’elle-même.
chat-database-down = 🦜 Ma mémoire est hors de portée pour l’instant. Ton message attend, et je répondrai à son retour.
chat-text-only = 🦜 Je ne lis que du texte. Écris-moi quelque chose et je répondrai.
chat-text-too-long = 🦜 C’est plus long que les { $limit } caractères que je peux prendre d’un coup. Envoie-le en plusieurs morceaux.

## Erreurs, par le code de core/errors.py

error-internal = Quelque chose a mal tourné de mon côté. L’hébergeur le trouvera dans les journaux ; réessaie.
error-invalid-input = Je ne peux pas m’en servir. Vérifie ce que tu as envoyé et réessaie.
error-not-found = Cela n’existe pas ici.
error-no-model = Aucun modèle n’est encore publié. L’hébergeur en ajoute un avec `perroquet models add`.
error-forgotten = Le message a été supprimé avant que je puisse y répondre.
error-model-unreadable = Le modèle qui répond ici ne se charge pas. L’hébergeur devrait lancer `perroquet models verify`.
error-store = Le modèle qui répond ici est abîmé ou manquant. L’hébergeur devrait lancer `perroquet models verify`.
error-empty-answer = Je n’ai rien à dire à cela. Essaie de le dire autrement.
error-job-crashed = J’ai essayé plusieurs fois et j’ai perdu mon ouvrier à chaque fois ; j’abandonne ce message.
error-cancelled = C’est annulé.
error-service-unavailable = Une partie de moi est en panne. Réessaie dans un instant.
error-missing-permissions = Tu n’as pas le droit de faire cela ici.
error-guild-only = Cela ne marche que sur un serveur.
error-unforeseen = Quelque chose a mal tourné de mon côté. L’hébergeur le trouvera dans les journaux sous { $reference }.

## Commandes

command-perroquet = Réglages de ce serveur et de ce salon
command-here-name = ici
command-here = Répondre à chaque message de ce salon
command-away-name = ailleurs
command-away = Dans ce salon, ne répondre qu’à qui s’adresse à moi
command-language-name = langue
command-language = Choisir la langue dans laquelle je parle de moi sur ce serveur
option-language-name = langue
option-language = anglais ou français
command-help-name = aide
command-help = Ce que je sais faire
command-forget-name = oublier
command-forget = Effacer ce qui m’a été dit
command-forget-me-name = moi
command-forget-me = Effacer ce que tu m’as dit ici, et mes réponses
command-forget-channel-name = salon
command-forget-channel = Effacer ce qui m’a été dit dans ce salon
command-ping-name = ping
command-ping = Tout fonctionne-t-il, et qui répond ici ?

listening-on = 🦜 Je réponds désormais à chaque message de ce salon.
listening-off = 🦜 Dans ce salon, je ne réponds désormais qu’à qui me mentionne ou me répond.
listening-already-on = Je réponds déjà à chaque message de ce salon.
listening-already-off = Dans ce salon, je ne réponds déjà qu’à qui s’adresse à moi.
language-chosen = Désormais je parle français sur ce serveur.
undo = Annuler

help-title = Parle avec moi
help-text =
    Pour parler : **mentionne-moi**, réponds à l’un de mes messages ou écris-moi en privé, et je réponds.
    `/perroquet ici` me fait répondre à tout dans un salon ; `/perroquet ailleurs` revient en arrière.
    `/oublier` efface pour de bon ce que tu m’as dit.
    `/ping` montre si tout fonctionne.

    Je ne retiens que ce qui m’est dit, pour le fil de la conversation. Cela ne sert jamais à l’entraînement.

forget-me-question = Effacer tout ce que tu m’as dit ici, et mes réponses ? C’est sans retour.
forget-channel-question = Effacer tout ce qui m’a été dit dans ce salon ? C’est sans retour.
forget-confirm = Oublier
forget-keep = Garder
forget-kept = Rien n’a été effacé.
forgotten =
    { $count ->
        [one] Un message est oublié.
       *[other] { $count } messages sont oubliés.
    }

ping-well = 🦜 Tout va bien
ping-unwell = 🦜 Une partie de moi est en panne
ping-up = en marche
ping-down = en panne
ping-nobody = personne encore
ping-gateway = Discord
ping-database = Base de données
ping-redis = Redis
ping-generate = Ouvriers de génération
ping-finetune = Ouvriers d’apprentissage
ping-model = Répond ici
