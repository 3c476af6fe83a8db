### /modèles, et le choix de qui répond.

models-used-here = 🦜 Désormais **{ $model }**, version { $number }, répond dans ce salon.
models-used-server = 🦜 Désormais **{ $model }**, version { $number }, répond sur ce serveur, sauf dans les salons qui ont leur propre choix.
models-discard-question = Jeter cette version pour de bon ? Là où elle répond, la suivante répondra.
models-delete-confirm = Supprimer pour de bon
models-keep = Garder
models-kept = Rien n’a été supprimé.
models-deleted = { $model }, version { $number }, est supprimé.

failure-version-in-use = Une autre version est construite sur « { $model } ». Supprime d’abord celle-là.
