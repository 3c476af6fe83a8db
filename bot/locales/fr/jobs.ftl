### /tâches et /état.

command-jobs-name = tâches
command-jobs = Ce qu’on m’a demandé ici, et ce que c’est devenu
command-jobs-list-name = lister
command-jobs-list = Parcourir les tâches de ce serveur
command-jobs-show-name = montrer
command-jobs-show = Tout sur une tâche
command-jobs-watch-name = suivre
command-jobs-watch = Montrer une tâche et tenir le message à jour
command-jobs-cancel-name = annuler
command-jobs-cancel = Annuler une tâche qui attend ou qui tourne
command-jobs-retry-name = réessayer
command-jobs-retry = Refaire ce qui a échoué ou a été annulé
command-status-name = état
command-status = Qui travaille, ce qui attend, et la dernière erreur
option-jobs-job-name = tâche
option-jobs-job = La tâche ; tape pour chercher
option-jobs-state-name = état
option-jobs-state = Seulement les tâches dans cet état
option-jobs-kind-name = genre
option-jobs-kind = Seulement les tâches de ce genre
option-jobs-member-name = membre
option-jobs-member = Seulement ce que ce membre a demandé
option-jobs-model-name = modèle
option-jobs-model = Seulement ce que ce modèle a répondu ou appris
option-jobs-since-name = depuis
option-jobs-since = 30m, 24h, 7j, ou un jour comme 2026-11-23
option-jobs-scope-name = portée
option-jobs-scope = Tous les serveurs ; seulement pour le propriétaire de l’application
jobs-scope-all = tous les serveurs

job-kind-generate = réponse
job-kind-finetune = affinage
job-kind-validate = lecture d’un corpus
job-state-validating = en lecture
job-state-queued = en attente
job-state-running = en cours
job-state-succeeded = terminée
job-state-failed = échouée
job-state-cancelled = annulée
job-state-stopping = s’arrête
job-state-paused = en pause

jobs-title = 🦜 Tâches
jobs-none = Aucune tâche trouvée.
jobs-none-here = Aucune trouvée jusqu’ici ; « Plus anciennes » cherche plus loin.
jobs-page = Page { $number }
jobs-newer = Plus récentes
jobs-older = Plus anciennes
jobs-cancel-cancelled = La tâche est annulée.
jobs-cancel-running = J’ai demandé à son ouvrier d’arrêter ; cela prend quelques secondes.
jobs-cancel-ended = La tâche était déjà finie ; rien n’a changé.
jobs-retried = Je réessaie, avec la tâche `{ $job }`.
jobs-retried-already = Je réessaie déjà, avec la tâche `{ $job }`.

job-field-state = État
job-field-model = Modèle
job-field-member = Demandée par
job-field-server = Serveur
job-field-place = Place dans la file
job-field-start = Début prévu
job-field-duration = Durée
job-field-progress = Progression
job-field-attempts = Tentatives
job-field-worker = Ouvrier
job-field-error = Ce qui a mal tourné
job-field-answer = Réponse
job-field-finish = Fin
job-answer =
    { $tokens ->
        [one] { $tokens } jeton en { $seconds } s ({ $speed } jetons/s)
       *[other] { $tokens } jetons en { $seconds } s ({ $speed } jetons/s)
    }
job-finish-stop = d’elle-même
job-finish-length = à la longueur maximale
job-finish-deadline = à la durée maximale
job-start-now = d’un moment à l’autre
job-start-in = dans { $time } environ
job-place = { $position } sur { $length }
job-attempts =
    { $crashes ->
        [0] { $attempts }
        [one] { $attempts }, son ouvrier a été perdu une fois
       *[other] { $attempts }, son ouvrier a été perdu { $crashes } fois
    }
job-time-left = encore { $time } environ
job-timeline-hidden =
    { $count ->
        [one] … et un événement avant
       *[other] … et { $count } événements avant
    }
job-watch-on = Tenu à jour pendant 14 minutes au plus
job-watch-over = N’est plus tenu à jour

job-figure-attempt = tentative { $value }
job-figure-step = pas { $value }
job-figure-steps = { $value } pas
job-figure-loss = perte { $value }
job-figure-crashes = ouvriers perdus : { $value }
job-event-submitted = demandée
job-event-claimed = prise par un ouvrier
job-event-released = rendue par son ouvrier
job-event-lease-expired = son ouvrier ne répond plus
job-event-cancel-requested = annulation demandée
job-event-pause-requested = pause demandée
job-event-stop-requested = arrêt anticipé demandé
job-event-resumed = reprise
job-event-started = l’entraînement a commencé
job-event-evaluated = évaluée
job-event-checkpointed = point de reprise enregistré
job-event-shrunk = mémoire insuffisante ; lots plus petits
job-event-retried = réessayée avec
job-event-retry-of = nouvel essai de
job-event-succeeded = terminée
job-event-failed = échouée
job-event-cancelled = annulée

status-well = 🦜 Au travail
status-unwell = 🦜 Personne ne répond pour le moment
status-workers = Processus
status-model = Répond ici
status-queues = Tâches de ce serveur
status-queues-all = Tâches de tous les serveurs
status-last-error = Dernière erreur
status-no-error = aucune en mémoire
status-nobody = personne
status-more =
    { $count ->
        [one] … et un de plus
       *[other] … et { $count } de plus
    }
status-speed = { $speed } jetons/s
status-jobs =
    { $count ->
        [0] inoccupé
        [one] une tâche
       *[other] { $count } tâches
    }
status-memory = { $used } sur { $total } Gio
status-queue = { $kind } : { $queued } en attente, { $running } en cours
status-wait = la plus longue depuis { $time }
status-kind-generate = Génération
status-kind-finetune = Affinage
status-kind-upkeep = Entretien
status-kind-bot = Bot

error-since = Je ne comprends pas ce moment. Écris 30m, 24h, 7j ou un jour comme 2026-11-23.
error-too-many-watches = Trop de tâches sont suivies en ce moment pour que j’en prenne une de plus. Utilise `/tâches montrer`, ou réessaie dans quelques minutes.
error-not-retryable = On ne peut réessayer qu’une tâche échouée ou annulée.
error-nothing-to-retry = Ce qu’il faut à cette tâche n’est plus gardé : son corpus, ou le modèle d’où elle partait. Envoie de nouveau tes fichiers.
error-already-retried = Je réessaie déjà.
