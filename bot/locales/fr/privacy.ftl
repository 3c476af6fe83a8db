### /forget.

command-forget-name = oublier
command-forget = Effacer ce qui m’a été dit
command-forget-me-name = moi
command-forget-me = Effacer ce que tu m’as dit ici, et mes réponses
command-forget-channel-name = salon
command-forget-channel = Effacer ce qui m’a été dit dans ce salon
forget-me-question = Effacer de ma mémoire tout ce que tu m’as dit ici, et mes réponses ? C’est définitif.
forget-channel-question = Effacer de ma mémoire tout ce qui m’a été dit dans ce salon ? C’est définitif.
forget-confirm = Oublier
forget-keep = Garder
forget-kept = Rien n’a été effacé.
forgotten =
    { $count ->
        [one] Un message est oublié. Ce qui est affiché dans Discord y reste tant que personne ne l’efface.
       *[other] { $count } messages sont oubliés. Ce qui est affiché dans Discord y reste tant que personne ne l’efface.
    }
