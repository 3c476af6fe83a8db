### /finetune, and the board of a fine-tune.

command-finetune-name = finetune
command-finetune = Teach me from your own files
command-finetune-start-name = start
command-finetune-start = Upload a corpus; I read it, show you a report, and start when you say so
command-finetune-search-name = search
command-finetune-search = Train several times with other options and keep the best; the report comes first
option-finetune-trials-name = trials
option-finetune-trials = How many trainings at most; 8 if left out
option-finetune-sampler-name = sampler
option-finetune-sampler = How the options are chosen; learning from the trials before, if left out
sampler-grid = grid: all combinations
sampler-random = random
sampler-bayesian = Bayesian: learns from the trials before
option-finetune-file-name = file
option-finetune-file = Text, CSV, JSON or JSONL, also as .zip or .gz; left out: a form asks for it
option-finetune-name-name = name
option-finetune-name = What to call the new model; left out: a form asks for it
option-finetune-rights-name = rights
option-finetune-rights = I have the rights to these files; no messages in them were taken through Discord's API
option-finetune-base-name = base
option-finetune-base = The model to start from; the default one if left out
option-finetune-method-name = method
option-finetune-method = LoRA trains a small part, quickly; full trains everything
option-finetune-epochs-name = epochs
option-finetune-epochs = How often to go through the corpus; chosen by its size if left out
option-finetune-learning-rate-name = learning_rate
option-finetune-learning-rate = 0 or left out: chosen for you
option-finetune-block-size-name = block_size
option-finetune-block-size = Tokens in a row; chosen for you if left out
option-finetune-batch-size-name = batch
option-finetune-batch-size = Rows in a step; chosen for you if left out
option-finetune-validation-file-name = validation_file
option-finetune-validation-file = A file to judge by; nothing is then held back from the others
option-finetune-validation-percent-name = validation_percent
option-finetune-validation-percent = How much of the corpus to hold back to judge by; 5 if left out
option-finetune-patience-name = patience
option-finetune-patience = Evaluations without progress before it ends early; 0: never; 3 if left out
option-finetune-seed-name = seed
option-finetune-seed = The same seed, files and options give the same model
option-finetune-prompts-name = prompts
option-finetune-prompts = Questions to ask before and after, separated by |
option-finetune-file2-name = file2
option-finetune-file2 = A second file
option-finetune-file3-name = file3
option-finetune-file3 = A third file
option-finetune-file4-name = file4
option-finetune-file4 = A fourth file
option-finetune-file5-name = file5
option-finetune-file5 = A fifth file
method-lora = LoRA
method-full = full weights

finetune-form-title = Teach me from your own files
finetune-form-files = Files
finetune-form-files-hint = Up to five: text, CSV, JSON or JSONL, also as .zip or .gz
finetune-form-name = Name of the new model
finetune-form-name-hint = Letters, digits and dashes
finetune-form-prompts = Questions to ask before and after
finetune-form-prompts-hint = One a line; left empty, some are taken from your files
finetune-form-rights = I have the rights to these files
finetune-form-rights-hint = And no messages in them were taken through Discord's API.
finetune-rights-missing = I take files in only from those who have the rights to them. Discord forbids learning from messages that were taken through its API, so such files are not allowed either. If you have the rights and there are no such messages in your files, say so with the button; you need not send them again.
finetune-cannot-write = I may not post here. Give me the permissions to see this channel, to send messages, to embed links and to attach files, or use another channel.
finetune-taken-in =
    { $count ->
        [one] I have your file and am reading it now. The report appears in this channel.
       *[other] I have your { $count } files and am reading them now. The report appears in this channel.
    }
finetune-other-language = It will be in French, the language of this server; `/perroquet language` changes that.

button-start = Start
button-cancel = Cancel
button-stop = Stop and keep the best
button-pause = Pause
button-resume = Resume
button-here = Use here
button-server = Use on this server
button-compare = Compare
button-download = Download
button-discard = Discard

board-validating = 🦜 { $model }: I am reading the corpus
board-validating-text = The report takes its place here in a moment.
board-queued = 🦜 { $model }: waiting for its turn
board-queued-text = Training begins as soon as a fine-tuning worker is free.
board-running = 🦜 { $model }: training
board-running-text = I measure the base first, to compare with later. Then the figures appear here.
board-failed = 🦜 { $model }: that did not work
board-failed-text = Nothing was changed.
board-cancelling = 🦜 { $model }: being cancelled
board-cancelling-text = Its worker lets go of it. Nothing will be kept.
board-cancelled = 🦜 { $model }: cancelled
board-cancelled-text = Nothing is kept of it.

board-pausing = 🦜 { $model }: pausing
board-pausing-text = It stops at the end of the step under way and keeps what it has.
board-paused = 🦜 { $model }: paused
board-paused-text = It goes on exactly where it stopped when you press Resume.
board-stopping = 🦜 { $model }: ending early
board-stopping-text = It evaluates what it has learnt so far and keeps the best.
run-trial = Trial
run-trial-value = { $trial } of { $trials }
run-best-trial = Best so far
run-best-trial-value = trial { $number }, loss { $loss }: { $options }
run-sample = 💬 { $prompt }
run-measured = Base measured
run-measured-value = { $done } of { $all } tokens
run-step = Step
run-step-value = { $step } of { $steps }
run-epoch = Epoch
run-train-loss = Training loss
run-validation-loss = Validation loss
run-validation-value = { $loss } at step { $step }; best at { $best }
run-number = { $number }
run-speed = Speed
run-speed-value = { $speed } tokens/s
run-left = Time left
# The font of the picture has the letters of ASCII alone.
curve-step = step
curve-loss = loss
curve-train = training
curve-validation = validation
curve-best = best
curve-pruned = given up
curve-trial = trial

outcome-title = 🦜 { $model }, version { $number }
outcome-title-discarded = 🦜 { $model }: discarded
outcome-better = It has learnt: it finds your texts less surprising than its base does.
outcome-worse = It is **worse than its base** on texts it has not seen, so I do not recommend it. It is kept until you discard it. More text, fewer epochs or a lower learning rate may help.
outcome-unmeasured = There was too little text to hold some back, so only a conversation can tell whether it got better.
outcome-discarded = This version was discarded. It no longer answers anywhere.
outcome-validation = Validation perplexity (lower is better)
outcome-test = Test perplexity
outcome-perplexity = base { $before } → new { $after }
outcome-time = Training
outcome-time-value = { $time }; { $ending }
outcome-ending-finished = { $steps } steps, the best is that of step { $best }
outcome-ending-early-stopped = ended at step { $steps } because it got no better; the best is that of step { $best }
outcome-ending-stopped = stopped at step { $steps }; the best is that of step { $best }
outcome-search = Search
outcome-search-value = the best of { $trials } trials is trial { $number }: { $options }
outcome-sample =
    before: { $before }
    after: **{ $after }**

report-title = 🦜 { $model }: ready to start
report-declared = { $who } declares that they have the rights to these files.
report-documents = Content
report-documents-value = { $documents } documents, { $examples } examples, { $turns } turns
report-tokens = Tokens
report-tokens-value = { $tokens }, of which { $learnt } are learnt
report-languages = Languages
report-unknown = not recognised
report-dropped = Left out
report-dropped-value = equal: { $exact }, nearly equal: { $near }, empty: { $empty }
report-over-long = Too long
report-over-long-value =
    { $count ->
        [0] none
        [one] one example, cut at its beginning
       *[other] { $count } examples, cut at their beginnings
    }
report-masked = Masked
report-masked-value = e-mail addresses: { $email }, phone numbers: { $phone }, keys and tokens: { $secret }
report-split = Documents by use
report-split-value = { $train } training, { $validation } validation, { $test } test
report-run = Run
report-run-value = { $base }, { $method }, epochs: { $epochs }, learning rate: { $rate }
report-run-search = { $base }, { $method }, epochs: { $epochs }, learning rate: { $rate }; up to { $trials } trials
report-steps = Effort
report-steps-value = about { $steps } steps, { $time }
report-time-unknown = time unknown until the first run
report-time-about = about { $time }
report-time-about-search = at most about { $time } for all trials
report-time-rough = between { $time } and { $most } as the machine allows; the first run will measure it
report-time-rough-search = between { $time } and { $most } at most for all trials, as the machine allows; the first run will measure it

corpus-warning-little-text = There is less than a megabyte of text. The model learns its tone and a few facts, not much more.
corpus-warning-one-speaker = Only one person speaks. The model learns to talk like them, not to answer.
corpus-warning-other-language = The text is in another language than the base model knows best.
corpus-warning-no-validation = There is too little to hold some back, so nobody can tell whether the model got better.
corpus-warning-few-validation = There are few documents to judge by, so which state is the best is partly up to chance. `validation_percent` or `validation_file` gives more.
corpus-warning-over-long = Many examples are longer than the model can see at once; their beginnings are left out.

failure-corpus-line = `{ $file }`, line { $line }: { $reason }
failure-corpus-file = `{ $file }`: { $reason }
corpus-kind-pdf = a PDF
corpus-kind-picture = a picture
corpus-kind-media = a sound, video or WebP file
corpus-kind-sound = a sound file
corpus-kind-video = a video
corpus-kind-program = a program
corpus-kind-foreign-archive = an archive of a kind that I do not open (use ZIP or gzip)
corpus-kind-parquet = a Parquet table
corpus-kind-database = a SQLite database
corpus-kind-office = an old Office document
corpus-kind-rich-text = a rich-text document
corpus-kind-model = a model
corpus-kind-pickle = a pickle
corpus-reason-empty = the file is empty.
corpus-reason-unreadable = the file cannot be opened.
corpus-reason-binary = this is { $found }, not text.
corpus-reason-not-text = there are bytes that no text holds.
corpus-reason-encoding = the bytes are not { $encoding } text; save the file as UTF-8.
corpus-reason-long-line = the line is longer than { $limit } characters.
corpus-reason-long-value = a value is longer than { $limit } characters.
corpus-reason-too-large = unpacked, the file is larger than { $limit } bytes.
corpus-reason-bomb = the archive unpacks to more than { $limit } times its size.
corpus-reason-archive = the archive is damaged.
corpus-reason-archive-members = the archive holds more than { $limit } files.
corpus-reason-archive-empty = the archive holds no file that can be read.
corpus-reason-archive-encrypted = the archive is locked with a password.
corpus-reason-archive-nested = the archive holds another archive.
corpus-reason-archive-path = the archive names a file outside itself.
corpus-reason-archive-method = the archive is packed by a method that is not supported; use ordinary ZIP.
corpus-reason-json = the JSON is broken or ends too early.
corpus-reason-table = the table is broken; check its quotes and delimiters.
corpus-reason-fields = the record has the fields { $found }, which no known format has. Known are text, prompt and completion, instruction and output, input and target, messages, conversations, dialog.
corpus-reason-columns = the columns { $found } belong to no known format. Known are text, prompt and completion, instruction and output, input and target, or an export of a known data set.
corpus-reason-value = the field “{ $field }” does not hold what its format says.
corpus-reason-record = the record is neither a text nor an object with fields.
corpus-reason-no-records = there is no list of records in it.
corpus-reason-one-speaker = only one person speaks in it; an answer can be learnt only where somebody asks.
corpus-reason-all-alike = everything in it says the same; at least { $limit } different examples are needed to learn from.
corpus-reason-too-small =
    { $found ->
        [0] no example is left
        [one] only one example is left
       *[other] only { $found } examples are left
    } after cleaning; at least { $limit } are needed to learn from.

failure-upload-foreign = `{ $file }` is not hosted by Discord, so I did not touch it. Attach it to the command itself.
failure-upload-gone = `{ $file }` was deleted before I could read it. Please attach it again.
failure-upload-lost = `{ $file }` got lost on its way to the worker. Please upload it again.
failure-upload-too-large = That is more than the { $limit } MiB I may take in. Send fewer files, or compress them.
failure-model-name = I need at least one letter from a to z or a digit in the name.
failure-model-name-taken = “{ $name }” is one of the operator's models. Please choose another name.
failure-too-many-open = { $limit } fine-tunes of this server are still open. Start, cancel or wait for one of them first.
failure-no-base = There is no base model “{ $model }” here. Leave `base` out to take the default one.
failure-not-read-yet = I am still reading the corpus.
failure-not-found = That fine-tune no longer exists.
failure-job-not-found = { failure-not-found }
failure-validation-died = Reading the corpus was too much for the worker; perhaps its memory ran out. Try a smaller corpus.
failure-validation-timeout = Reading the corpus took too long. Try a smaller one.
failure-job-crashed = The worker was lost several times while it did this, so I gave up. The operator finds the reason in the logs.
failure-training-option = The trainer does not accept the option “{ $option }” for this base.
failure-training-diverged = The loss got out of hand at step { $step }. Try again with a lower `learning_rate`.
failure-training-out-of-memory = Even the smallest batch is more than the device holds. Try `method` LoRA or a smaller base.
failure-training-empty = The corpus holds nothing to learn from for this base.
failure-training-search-validation = A search judges its trials by documents held back for validation, and this corpus has none. Upload more text, a validation file, or give a share.
failure-training-checkpoint = A checkpoint could not be written or read. The operator finds the reason in the logs.
failure-training-busy = Another trainer is still at work in this run's folder. Please try again in a minute.
failure-model-unreadable = The base model cannot be loaded. The operator finds the reason with `perroquet jobs show`.
failure-store = The base model or the corpus is damaged or missing in the store. The operator should run `perroquet models verify`.
