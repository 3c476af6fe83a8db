### /perroquet, et ce que plusieurs commandes partagent.

command-perroquet = Réglages de ce serveur et de ce salon
command-here-name = ici
command-here = Répondre à chaque message de ce salon
command-away-name = ailleurs
command-away = Dans ce salon, ne répondre qu’à qui s’adresse à moi
command-language-name = langue
command-language = Choisir la langue que je parle sur ce serveur
option-language-name = langue
option-language = anglais ou français
command-teachers-name = enseignants
command-teachers = Choisir un rôle qui peut m’affiner et choisir les modèles ; sans rôle, qui gère le serveur
option-teachers-role-name = rôle
option-teachers-role = Sans rôle, seuls ceux qui gèrent le serveur
teachers-chosen = Les membres qui ont { $role } peuvent maintenant m’affiner et choisir qui répond. Pour que Discord leur montre les commandes, autorise ce rôle dans Paramètres du serveur → Intégrations → Perroquet, pour `/affiner` et `/modèles`.
teachers-none = Seuls ceux qui gèrent le serveur peuvent m’affiner et choisir qui répond.
command-help-name = aide
command-help = Ce que je sais faire
listening-on = 🦜 Je réponds désormais à chaque message de ce salon.
listening-off = 🦜 Dans ce salon, je ne réponds désormais qu’à qui me mentionne ou me répond.
listening-already-on = Je réponds déjà à chaque message de ce salon.
listening-already-off = Dans ce salon, je ne réponds déjà qu’à qui s’adresse à moi.
language-chosen = Désormais je parle français sur ce serveur.
undo = Rétablir
help-title = Parle avec moi
help-text =
    Pour parler, **mentionne-moi**, réponds à l’un de mes messages ou écris-moi en message privé.
    `/oublier moi` efface pour de bon ce que tu m’as dit.
    `/ping` montre si tout fonctionne.

    Je ne retiens que ce qu’on me dit, pour suivre la conversation. Cela ne sert jamais à l’entraînement.
help-channel-title = Ce salon
help-channel =
    `/perroquet ici` me fait répondre à chaque message de ce salon.
    `/perroquet ailleurs` me fait répondre seulement quand on s’adresse à moi.
help-messages-title = Ce qui a été dit
help-messages = `/oublier salon` efface pour de bon ce qui m’a été dit dans ce salon.
help-teaching-title = Affinage
help-teaching =
    `/affiner lancer` m’affine avec tes propres fichiers.
    `/modèles lister` montre les modèles, et qui répond ici.
    `/modèles utiliser` choisit qui répond ; `/modèles revenir` revient en arrière.
    `/modèles comparer` pose la même question à deux versions.
help-server-title = Ce serveur
help-server =
    `/tâches lister` montre ce qu’on m’a demandé, et ce que c’est devenu.
    `/état` montre qui travaille, ce qui attend, et la dernière erreur.
    `/perroquet langue` choisit la langue que je parle ici.
    `/perroquet enseignants` choisit un rôle qui peut m’affiner.
