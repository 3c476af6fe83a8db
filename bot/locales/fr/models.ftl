### /modèles, et le choix de qui répond.

command-models-name = modèles
command-models = Les modèles de ce serveur, et qui répond
command-models-list-name = lister
command-models-list = Quels modèles il y a, et qui répond ici
command-models-show-name = montrer
command-models-show = Montrer une version : de quoi elle est faite, et ce qu’elle vaut
command-models-use-name = utiliser
command-models-use = Faire répondre une version dans ce salon ou sur ce serveur
command-models-rollback-name = revenir
command-models-rollback = Revenir au modèle qui répondait avant
command-models-delete-name = supprimer
command-models-delete = Supprimer une version propre à ce serveur
option-models-model-name = modèle
option-models-model = Une version, comme les suggestions la montrent
option-models-where-name = où
option-models-where = Dans ce salon, si omis
models-where-channel = ce salon
models-where-server = ce serveur

models-list-title = 🦜 Modèles
models-list-text = La version la plus récente de chaque modèle vient d’abord. `/modèles utiliser` choisit qui répond.
models-list-empty = Il n’y en a pas encore. `/affiner lancer` en fait un.
models-list-more =
    { $count ->
        [one] et { $count } autre
       *[other] et { $count } autres
    }
models-own = ce serveur seulement
models-shared = tous les serveurs
models-label = { $model } { $number } · perplexité { $perplexity }
models-line = version { $number }
models-line-perplexity = perplexité { $perplexity }
models-line-answers = répond ici
models-version-title = 🦜 { $model }, version { $number }
models-made = Créé
models-size = Taille
models-size-value = { $size } Mio
models-base = Construit sur
models-method = Méthode
models-time = Durée d’entraînement
models-corpus = Corpus (SHA-256)
models-default-here = 🦜 Désormais ce salon suit de nouveau le choix du serveur.
models-default-server = 🦜 Désormais ce serveur suit de nouveau le choix de l’hébergeur.
models-delete-question = Supprimer **{ $model }**, version { $number }, pour de bon ? Là où elle répond, la suivante répondra.

command-models-compare-name = comparer
command-models-compare = Poser la même question à deux versions et voir les deux réponses côte à côte
option-models-other-name = avec
option-models-other = Une autre version ; si omise, celle dont elle vient
command-models-rename-name = renommer
command-models-rename = Donner un autre nom à un modèle de ce serveur
option-models-name-name = nom
option-models-name = Le nouveau nom
command-models-export-name = exporter
command-models-export = Recevoir les fichiers d’une version de ce serveur
compare-form-title = La même question aux deux
compare-form-question = Question
compare-too-late = pas de réponse à temps ; les ouvriers sont occupés
models-renamed = { $before } s’appelle maintenant { $after }.
export-files = Les fichiers de **{ $model }**, version { $number }. Mets-les dans un dossier ; tout outil qui lit `safetensors` le charge.
export-adapter = C’est un adaptateur : il lui faut { $base } et son tokenizer.
export-whole = Le modèle est entier, et prend le tokenizer de { $base }, dont il est parti.
export-halved = Les poids sont arrondis à 16 bits, pour qu’ils tiennent dans un envoi ici.

error-name-taken = Il y a déjà un modèle de ce nom. Choisis-en un autre.
error-model-name = Il me faut au moins une lettre de a à z ou un chiffre dans le nom.
error-too-large-to-send = Cette version est plus grande que ce qu’un envoi peut être ici. L’hébergeur la trouve dans le dépôt de modèles.
error-nothing-before = Rien n’a été choisi ici auparavant ; impossible donc de revenir en arrière.
error-version-in-use = Une autre version est construite sur celle-ci. Supprime d’abord celle-là.
error-version-in-training = Un entraînement, que `/jobs list` montre, se fait sur celle-ci. Annule-le d’abord, ou attends sa fin.

models-used-here = 🦜 Désormais **{ $model }**, version { $number }, répond dans ce salon.
models-used-server = 🦜 Désormais **{ $model }**, version { $number }, répond sur ce serveur, sauf dans les salons qui ont leur propre choix.
models-discard-question = Jeter cette version pour de bon ? Là où elle répond, la suivante répondra.
models-delete-confirm = Supprimer pour de bon
models-keep = Garder
models-kept = Rien n’a été supprimé.
models-deleted = La version { $number } de { $model } est supprimée.
