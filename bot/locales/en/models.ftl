### /models, and choosing who answers.

models-used-here = 🦜 From now on **{ $model }**, version { $number }, answers in this channel.
models-used-server = 🦜 From now on **{ $model }**, version { $number }, answers on this server, but for channels with a choice of their own.
models-discard-question = Discard this version for good? Where it answers now, the next one does.
models-delete-confirm = Delete for good
models-keep = Keep it
models-kept = Nothing was deleted.
models-deleted = { $model }, version { $number }, is deleted.

failure-version-in-use = Another version is built on “{ $model }”. Delete that first.
