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
