### Erreurs, par le code de core/errors.py.

error-internal = Quelque chose a mal tourné de mon côté. Réessaie ; l’hébergeur trouvera les détails dans les journaux.
error-invalid-input = Je ne peux rien faire de cela. Vérifie ce que tu as envoyé et réessaie.
error-not-found = Cela n’existe pas ici.
error-job-not-found = Cette tâche n’existe pas ici. `/tâches lister` montre celles qu’il y a.
error-no-model = Aucun modèle n’est encore publié. L’hébergeur peut en ajouter un avec `perroquet models add`.
error-forgotten = Le message a été supprimé avant que je puisse y répondre.
error-model-unreadable = Le modèle qui répond ici ne se charge pas. L’hébergeur en trouve la raison avec `perroquet jobs show`.
error-store = Le modèle qui répond ici est abîmé ou manquant. L’hébergeur devrait lancer `perroquet models verify`.
error-empty-answer = Je n’ai rien à dire à cela. Essaie de le dire autrement.
error-too-late = Cela m’a pris trop de temps et j’ai renoncé avant le premier mot. Réessaie dans un instant.
error-job-crashed = J’ai essayé plusieurs fois et j’ai perdu mon ouvrier à chaque fois ; j’abandonne ce message.
error-cancelled = C’est annulé.
error-service-unavailable = Une partie de moi est en panne. Réessaie dans un instant.
error-missing-permissions = Tu n’as pas le droit de faire cela ici.
error-owner-only = Seul le propriétaire de cette application a le droit de voir tous les serveurs.
error-missing-permission = Tu n’as pas le droit de faire cela ici : il faut la permission « { $permission } ».
permission-manage_channels = Gérer les salons
permission-manage_guild = Gérer le serveur
permission-manage_messages = Gérer les messages
error-guild-only = Cela ne marche que sur un serveur.
error-unforeseen = Quelque chose a mal tourné de mon côté. L’hébergeur le trouvera dans les journaux sous { $reference }.
