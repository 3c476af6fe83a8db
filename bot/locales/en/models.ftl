### /models, and choosing who answers.

command-models-name = models
command-models = The models of this server, and who answers
command-models-list-name = list
command-models-list = Which models there are, and who answers here
command-models-show-name = show
command-models-show = One version: what it is made of, and how good it is
command-models-use-name = use
command-models-use = Have a version answer in this channel or on this server
command-models-rollback-name = rollback
command-models-rollback = Go back to who answered before
command-models-delete-name = delete
command-models-delete = Delete one of this server's own versions
option-models-model-name = model
option-models-model = A version, as the suggestions show it
option-models-where-name = where
option-models-where = In this channel, if left out
models-where-channel = this channel
models-where-server = this server

models-list-title = 🦜 Models
models-list-text = The newest version of each model comes first. `/models use` chooses who answers.
models-list-empty = There are none yet. `/finetune start` makes one.
models-list-more =
    { $count ->
        [one] and one more
       *[other] and { $count } more
    }
models-own = this server only
models-shared = all servers
models-label = { $model } { $number } · perplexity { $perplexity }
models-line = version { $number }
models-line-perplexity = perplexity { $perplexity }
models-line-answers = answers here
models-version-title = 🦜 { $model }, version { $number }
models-made = Made
models-size = Size
models-size-value = { $size } MiB
models-base = Built on
models-method = Method
models-time = Training time
models-corpus = Corpus (SHA-256)
models-default-here = 🦜 From now on this channel follows the server's choice again.
models-default-server = 🦜 From now on this server follows the operator's default again.
models-delete-question = Delete **{ $model }**, version { $number }, for good? Where it answers now, the next one does.

command-models-compare-name = compare
command-models-compare = Ask two versions the same question, and see both answers side by side
option-models-other-name = with
option-models-other = Another version; if left out, the one it was made from
command-models-rename-name = rename
command-models-rename = Give one of this server's own models another name
option-models-name-name = name
option-models-name = The new name
command-models-export-name = export
command-models-export = Get the files of one of this server's own versions
compare-form-title = The same question to both
compare-form-question = Question
compare-too-late = no answer in time; the workers are busy
models-renamed = { $before } is now called { $after }.
export-files = The files of **{ $model }**, version { $number }. Put them into one folder; any tool that reads `safetensors` loads it.
export-adapter = It is an adapter: it needs { $base } and the tokenizer of that.
export-whole = It is whole, and takes the tokenizer of { $base }, from which it began.
export-halved = The weights are rounded to 16 bits, so that they fit an upload here.

error-name-taken = There is a model of that name already. Please choose another one.
error-model-name = I need at least one letter from a to z or a digit in the name.
error-too-large-to-send = This version is larger than an upload here may be. The operator finds it in the model store.
error-nothing-before = Nothing was chosen here before, so there is nothing to go back to.
error-version-in-use = Another version is built on this one. Delete that first.
error-version-in-training = A fine-tune that `/jobs list` shows is learning on this one. Cancel it first, or wait until it has ended.

models-used-here = 🦜 From now on **{ $model }**, version { $number }, answers in this channel.
models-used-server = 🦜 From now on **{ $model }**, version { $number }, answers on this server, but for channels with a choice of their own.
models-discard-question = Discard this version for good? Where it answers now, the next one does.
models-delete-confirm = Delete for good
models-keep = Keep it
models-kept = Nothing was deleted.
models-deleted = { $model }, version { $number }, is deleted.
