### /affiner, et le tableau d’un affinage.

command-finetune-name = affiner
command-finetune = M’affiner avec tes propres fichiers
command-finetune-start-name = lancer
command-finetune-start = Envoyer un corpus ; je le lis, te montre un rapport, et commence quand tu le dis
command-finetune-search-name = chercher
command-finetune-search = Entraîner plusieurs fois avec d’autres options et garder le meilleur ; le rapport d’abord
option-finetune-trials-name = essais
option-finetune-trials = Combien d’entraînements au plus ; 8 si omis
option-finetune-sampler-name = tirage
option-finetune-sampler = Comment choisir les options ; en apprenant des essais d’avant si omis
sampler-grid = grille : toutes les combinaisons
sampler-random = au hasard
sampler-bayesian = bayésien : apprend des essais d’avant
option-finetune-file-name = fichier
option-finetune-file = Texte, CSV, JSON ou JSONL, aussi en .zip ou .gz ; omis : un formulaire le demande
option-finetune-name-name = nom
option-finetune-name = Comment appeler le nouveau modèle ; omis : un formulaire le demande
option-finetune-rights-name = droits
option-finetune-rights = J’ai les droits sur ces fichiers ; aucun message n’y vient de l’API de Discord
option-finetune-base-name = base
option-finetune-base = Le modèle de départ ; celui par défaut si omis
option-finetune-method-name = méthode
option-finetune-method = LoRA entraîne une petite partie, vite ; complet entraîne tout
option-finetune-epochs-name = époques
option-finetune-epochs = Combien de fois parcourir le corpus ; selon sa taille si omis
option-finetune-learning-rate-name = taux_apprentissage
option-finetune-learning-rate = 0 ou omis : choisi pour toi
option-finetune-block-size-name = taille_bloc
option-finetune-block-size = Jetons par ligne ; choisi pour toi si omis
option-finetune-batch-size-name = lot
option-finetune-batch-size = Lignes par pas ; choisi pour toi si omis
option-finetune-validation-file-name = fichier_validation
option-finetune-validation-file = Un fichier pour juger ; rien n’est alors réservé dans les autres
option-finetune-validation-percent-name = pourcent_validation
option-finetune-validation-percent = Quelle part du corpus réserver pour juger ; 5 si omis
option-finetune-patience-name = patience
option-finetune-patience = Évaluations sans progrès avant d’arrêter ; 0 : jamais ; 3 si omis
option-finetune-seed-name = graine
option-finetune-seed = La même graine, les mêmes fichiers et options donnent le même modèle
option-finetune-prompts-name = questions
option-finetune-prompts = Questions à poser avant et après, séparées par |
option-finetune-file2-name = fichier2
option-finetune-file2 = Un deuxième fichier
option-finetune-file3-name = fichier3
option-finetune-file3 = Un troisième fichier
option-finetune-file4-name = fichier4
option-finetune-file4 = Un quatrième fichier
option-finetune-file5-name = fichier5
option-finetune-file5 = Un cinquième fichier
method-lora = LoRA
method-full = poids complets

finetune-form-title = M’affiner avec tes propres fichiers
finetune-form-files = Fichiers
finetune-form-files-hint = Jusqu’à cinq : texte, CSV, JSON ou JSONL, aussi en .zip ou .gz
finetune-form-name = Nom du nouveau modèle
finetune-form-name-hint = Lettres, chiffres et tirets
finetune-form-prompts = Questions à poser avant et après
finetune-form-prompts-hint = Une par ligne ; si vide, elles viennent de tes fichiers
finetune-form-rights = J’ai les droits sur ces fichiers
finetune-form-rights-hint = Et aucun message n’y vient de l’API de Discord.
finetune-rights-missing = Je n’accepte que des fichiers dont tu as les droits. Discord interdit d’apprendre des messages tirés de son API ; de tels fichiers ne sont donc pas admis non plus. Si tu as les droits et que tes fichiers ne contiennent pas de tels messages, dis-le avec le bouton ; inutile de les renvoyer.
finetune-cannot-write = Je ne peux pas écrire ici. Donne-moi les permissions de voir ce salon, d’envoyer des messages, d’intégrer des liens et de joindre des fichiers, ou choisis un autre salon.
finetune-taken-in =
    { $count ->
        [one] J’ai ton fichier et je le lis. Le rapport apparaîtra dans ce salon.
       *[other] J’ai tes { $count } fichiers et je les lis. Le rapport apparaîtra dans ce salon.
    }
finetune-other-language = Il sera en anglais, la langue de ce serveur ; `/perroquet langue` permet d’en changer.

button-start = Commencer
button-cancel = Annuler
button-stop = Arrêter et garder le meilleur
button-pause = Pause
button-resume = Reprendre
button-here = Utiliser ici
button-server = Utiliser sur ce serveur
button-compare = Comparer
button-download = Télécharger
button-discard = Jeter

board-validating = 🦜 { $model } : je lis le corpus
board-validating-text = Le rapport prendra place ici dans un instant.
board-queued = 🦜 { $model } : en attente de son tour
board-queued-text = L’entraînement commence dès qu’un ouvrier d’affinage est libre.
board-running = 🦜 { $model } : entraînement
board-running-text = Je mesure d’abord la base, pour comparer plus tard. Puis les chiffres apparaissent ici.
board-failed = 🦜 { $model } : cela n’a pas marché
board-failed-text = Rien n’a été changé.
board-cancelling = 🦜 { $model } : annulation en cours
board-cancelling-text = Le processus d’entraînement s’arrête. Rien n’en sera gardé.
board-cancelled = 🦜 { $model } : annulé
board-cancelled-text = Il n’en reste rien.

board-pausing = 🦜 { $model } : mise en pause
board-pausing-text = Il s’arrête à la fin du pas en cours et garde ce qu’il a.
board-paused = 🦜 { $model } : en pause
board-paused-text = Il reprendra exactement où il s’est arrêté quand tu appuieras sur Reprendre.
board-stopping = 🦜 { $model } : arrêt anticipé
board-stopping-text = Il évalue ce qu’il a appris jusqu’ici et garde le meilleur.
run-trial = Essai
run-trial-value = { $trial } sur { $trials }
run-best-trial = Le meilleur jusqu’ici
run-best-trial-value = essai { $number }, perte { $loss } : { $options }
run-sample = 💬 { $prompt }
run-measured = Base mesurée
run-measured-value = { $done } jetons sur { $all }
run-step = Pas
run-step-value = { $step } sur { $steps }
run-epoch = Époque
run-train-loss = Perte d’entraînement
run-validation-loss = Perte de validation
run-validation-value = { $loss } au pas { $step } ; la meilleure au pas { $best }
run-number = { $number }
run-speed = Vitesse
run-speed-value = { $speed } jetons/s
run-left = Temps restant
# La police de l’image n’a que les lettres de l’ASCII.
curve-step = pas
curve-loss = perte
curve-train = entrainement
curve-validation = validation
curve-best = meilleur
curve-pruned = abandon
curve-trial = essai

outcome-title = 🦜 { $model }, version { $number }
outcome-title-discarded = 🦜 { $model } : jeté
outcome-better = Il a appris : tes textes le surprennent moins qu’ils ne surprennent sa base.
outcome-worse = Il est **moins bon que sa base** sur des textes qu’il n’a pas vus ; je ne le recommande donc pas. Il est gardé jusqu’à ce que tu le jettes. Plus de texte, moins d’époques ou un taux d’apprentissage plus bas peuvent aider.
outcome-unmeasured = Il y avait trop peu de texte pour en réserver une part ; seule une conversation dira s’il est meilleur.
outcome-discarded = Cette version a été jetée. Elle ne répond plus nulle part.
outcome-validation = Perplexité de validation (plus bas, c’est mieux)
outcome-test = Perplexité de test
outcome-perplexity = base { $before } → nouveau { $after }
outcome-time = Entraînement
outcome-time-value = { $time } ; { $ending }
outcome-ending-finished = { $steps } pas, le meilleur est celui du pas { $best }
outcome-ending-early-stopped = terminé au pas { $steps } faute de progrès ; le meilleur est celui du pas { $best }
outcome-ending-stopped = arrêté au pas { $steps } ; le meilleur est celui du pas { $best }
outcome-search = Recherche
outcome-search-value = le meilleur de { $trials } essais est l’essai { $number } : { $options }
outcome-sample =
    avant : { $before }
    après : **{ $after }**

report-title = 🦜 { $model } : prêt à commencer
report-declared = { $who } déclare avoir les droits sur ces fichiers.
report-documents = Contenu
report-documents-value = { $documents } documents, { $examples } exemples, { $turns } tours de parole
report-tokens = Jetons
report-tokens-value = { $tokens }, dont { $learnt } sont appris
report-languages = Langues
report-unknown = non reconnues
report-dropped = Écartés
report-dropped-value = identiques : { $exact }, presque : { $near }, vides : { $empty }
report-over-long = Trop longs
report-over-long-value =
    { $count ->
        [0] aucun
        [one] { $count } exemple, coupé au début
       *[other] { $count } exemples, coupés au début
    }
report-masked = Masqués
report-masked-value = adresses e-mail : { $email }, numéros de téléphone : { $phone }, clés et jetons d’accès : { $secret }
report-split = Documents par usage
report-split-value = { $train } entraînement, { $validation } validation, { $test } test
report-run = Affinage
report-run-value = { $base }, { $method }, époques : { $epochs }, taux d’apprentissage : { $rate }
report-run-search = { $base }, { $method }, époques : { $epochs }, taux d’apprentissage : { $rate } ; jusqu’à { $trials } essais
report-steps = Effort
report-steps-value = environ { $steps } pas, { $time }
report-time-unknown = durée inconnue avant le premier affinage
report-time-about = environ { $time }
report-time-about-search = environ { $time } au plus pour tous les essais
report-time-rough = entre { $time } et { $most } selon la machine ; le premier affinage le mesurera
report-time-rough-search = entre { $time } et { $most } au plus pour tous les essais, selon la machine ; le premier affinage le mesurera

corpus-warning-little-text = Il y a moins d’un mégaoctet de texte. Le modèle apprendra un ton et quelques faits, guère plus.
corpus-warning-one-speaker = Une seule personne parle. Le modèle apprendra à parler comme elle, pas à répondre.
corpus-warning-other-language = Le texte est dans une autre langue que celle que le modèle de base connaît le mieux.
corpus-warning-no-validation = Il y a trop peu de texte pour en réserver une part ; personne ne pourra dire si le modèle est meilleur.
corpus-warning-few-validation = Il y a peu de documents pour juger ; le choix du meilleur état tient en partie au hasard. `pourcent_validation` ou `fichier_validation` en donne plus.
corpus-warning-over-long = Beaucoup d’exemples sont plus longs que ce que le modèle voit d’un coup ; leur début est omis.

failure-corpus-line = `{ $file }`, ligne { $line } : { $reason }
failure-corpus-file = `{ $file }` : { $reason }
corpus-kind-pdf = un PDF
corpus-kind-picture = une image
corpus-kind-media = un son, une vidéo ou une image WebP
corpus-kind-sound = un son
corpus-kind-video = une vidéo
corpus-kind-program = un programme
corpus-kind-foreign-archive = une archive que je n’ouvre pas (prends ZIP ou gzip)
corpus-kind-parquet = un tableau Parquet
corpus-kind-database = une base SQLite
corpus-kind-office = un ancien document Office
corpus-kind-rich-text = un document RTF
corpus-kind-model = un modèle
corpus-kind-pickle = un pickle
corpus-reason-empty = le fichier est vide.
corpus-reason-unreadable = le fichier ne s’ouvre pas.
corpus-reason-binary = c’est { $found }, pas du texte.
corpus-reason-not-text = il y a des octets qu’aucun texte ne contient.
corpus-reason-encoding = les octets ne sont pas du texte { $encoding } ; enregistre le fichier en UTF-8.
corpus-reason-long-line = la ligne dépasse { $limit } caractères.
corpus-reason-long-value = une valeur dépasse { $limit } caractères.
corpus-reason-too-large = décompressé, le fichier dépasse { $limit } octets.
corpus-reason-bomb = l’archive se décompresse à plus de { $limit } fois sa taille.
corpus-reason-archive = l’archive est abîmée.
corpus-reason-archive-members = l’archive contient plus de { $limit } fichiers.
corpus-reason-archive-empty = l’archive ne contient aucun fichier lisible.
corpus-reason-archive-encrypted = l’archive est verrouillée par un mot de passe.
corpus-reason-archive-nested = l’archive contient une autre archive.
corpus-reason-archive-path = l’archive nomme un fichier en dehors d’elle-même.
corpus-reason-archive-method = l’archive est compressée d’une façon que je ne connais pas ; prends un ZIP ordinaire.
corpus-reason-json = le JSON est cassé ou s’arrête trop tôt.
corpus-reason-table = le tableau est cassé ; vérifie ses guillemets et ses séparateurs.
corpus-reason-fields = l’enregistrement a les champs { $found }, qu’aucun format connu n’a. Sont connus : text, prompt et completion, instruction et output, input et target, messages, conversations, dialog.
corpus-reason-columns = les colonnes { $found } ne sont d’aucun format connu. Sont connus : text, prompt et completion, instruction et output, input et target, ou l’export d’un jeu de données connu.
corpus-reason-value = le champ « { $field } » ne contient pas ce que son format dit.
corpus-reason-record = l’enregistrement n’est ni un texte ni un objet avec des champs.
corpus-reason-no-records = il n’y a aucune liste d’enregistrements dedans.
corpus-reason-one-speaker = une seule personne y parle ; on n’apprend à répondre que là où quelqu’un demande.
corpus-reason-all-alike = tout y dit la même chose ; il faut au moins { $limit } exemples différents pour apprendre.
corpus-reason-too-small =
    il ne reste { $found ->
        [0] aucun exemple
        [one] qu’un seul exemple
       *[other] que { $found } exemples
    } après nettoyage ; il en faut au moins { $limit } pour apprendre.

failure-upload-foreign = `{ $file }` n’est pas hébergé par Discord ; je n’y ai pas touché. Joins-le à la commande elle-même.
failure-upload-gone = `{ $file }` a été supprimé avant que je puisse le lire. Joins-le de nouveau.
failure-upload-lost = `{ $file }` s’est perdu en route vers l’ouvrier. Envoie-le de nouveau.
failure-upload-too-large = C’est plus que les { $limit } Mio que je peux prendre. Envoie moins de fichiers, ou compresse-les.
failure-model-name = Il me faut au moins une lettre de a à z ou un chiffre dans le nom.
failure-model-name-taken = « { $name } » est un modèle de l’hébergeur. Choisis un autre nom.
failure-too-many-open = { $limit } affinages de ce serveur sont encore ouverts. Lances-en un, annules-en un ou attends d’abord que l’un se termine.
failure-no-base = Il n’y a pas de modèle de base « { $model } » ici. Omets `base` pour prendre celui par défaut.
failure-not-read-yet = Je suis encore en train de lire le corpus.
failure-not-found = Cet affinage n’existe plus.
failure-job-not-found = { failure-not-found }
failure-validation-died = La lecture du corpus a été trop lourde pour l’ouvrier ; il n’avait peut-être plus assez de mémoire. Essaie un corpus plus petit.
failure-validation-timeout = Lire le corpus a pris trop de temps. Essaie un corpus plus petit.
failure-job-crashed = J’ai perdu l’ouvrier plusieurs fois en chemin ; j’abandonne. L’hébergeur trouvera la raison dans les journaux.
failure-training-option = L’entraîneur refuse l’option « { $option } » pour cette base.
failure-training-diverged = La perte s’est emballée au pas { $step }. Réessaie avec un `taux_apprentissage` plus bas.
failure-training-out-of-memory = Même le plus petit lot dépasse la mémoire de l’appareil. Essaie la méthode LoRA ou une base plus petite.
failure-training-empty = Le corpus ne contient rien à apprendre pour cette base.
failure-training-search-validation = Une recherche juge ses essais sur des documents mis de côté pour la validation, et ce corpus n’en a pas. Dépose plus de texte, un fichier de validation, ou donne une part.
failure-training-checkpoint = Un point de reprise n’a pu être écrit ou lu. L’hébergeur trouvera la raison dans les journaux.
failure-training-busy = Un autre entraîneur travaille encore dans le dossier de cet affinage. Réessaie dans une minute.
failure-model-unreadable = Le modèle de base ne se charge pas. L’hébergeur en trouve la raison avec `perroquet jobs show`.
failure-store = Le modèle de base ou le corpus est abîmé ou manquant. L’hébergeur devrait lancer `perroquet models verify`.
