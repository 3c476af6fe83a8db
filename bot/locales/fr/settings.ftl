### /perroquet, et ce que plusieurs commandes partagent.

command-perroquet = Réglages de ce serveur et de ce salon
command-here-name = ici
command-here = Répondre à chaque message de ce salon
command-away-name = ailleurs
command-away = Dans ce salon, ne répondre qu’à qui s’adresse à moi
command-language-name = langue
command-language = Choisir la langue dans laquelle je parle de moi sur ce serveur
option-language-name = langue
option-language = anglais ou français
command-teachers-name = enseignants
command-teachers = Choisir un rôle qui peut m’apprendre et choisir les modèles ; sans rôle, les gérants seuls
option-teachers-role-name = rôle
option-teachers-role = Sans rôle : seulement ceux qui gèrent le serveur
teachers-chosen = Les membres qui ont { $role } peuvent maintenant m’apprendre des choses et choisir qui répond. Pour que Discord leur montre les commandes, autorise ce rôle dans Paramètres du serveur → Intégrations → Perroquet pour `/finetune` et `/models`.
teachers-none = Seuls ceux qui gèrent le serveur peuvent m’apprendre des choses et choisir qui répond.
command-help-name = aide
command-help = Ce que je sais faire
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
