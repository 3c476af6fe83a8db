### What Perroquet says in English. fr.ftl has the same keys; a test compares them.

## Chat

chat-placeholder = 🦜 …
chat-delayed = 🦜 A part of me is down. Your message is kept, and the answer will come by itself.
chat-database-down = 🦜 My memory is out of reach for the moment. Your message waits, and I will answer when it is back.
chat-text-only = 🦜 I read text only. Write me something and I will answer.
chat-text-too-long = 🦜 That is longer than the { $limit } characters I can take in at once. Please send it in pieces.

## Errors, by the code of core/errors.py

error-internal = Something went wrong on my side. The operator finds it in the logs; please try again.
error-invalid-input = I cannot use that. Please check what you sent and try again.
error-not-found = There is no such thing here.
error-no-model = No model is published yet. The operator adds one with `perroquet models add`.
error-forgotten = The message was deleted before I could answer it.
error-model-unreadable = The model that answers here cannot be loaded. The operator should run `perroquet models verify`.
error-store = The model that answers here is damaged or missing. The operator should run `perroquet models verify`.
error-empty-answer = I have nothing to say to that. Try putting it another way.
error-job-crashed = I tried several times and my worker was lost each time, so I gave up on this message.
error-cancelled = That was cancelled.
error-service-unavailable = A part of me is down. Please try again in a moment.
error-missing-permissions = You may not do that here.
error-guild-only = That works only in a server.
error-unforeseen = Something went wrong on my side. The operator finds it in the logs as { $reference }.

## Commands

command-perroquet = Settings of this server and channel
command-here-name = here
command-here = Answer every message in this channel
command-away-name = away
command-away = In this channel, answer only who addresses me
command-language-name = language
command-language = Choose the language I speak of myself in this server
option-language-name = language
option-language = English or French
command-help-name = help
command-help = What I can do
command-forget-name = forget
command-forget = Delete what was said to me
command-forget-me-name = me
command-forget-me = Delete what you said to me here, and my answers to it
command-forget-channel-name = channel
command-forget-channel = Delete what was said to me in this channel
command-ping-name = ping
command-ping = Is everything up, and who answers here?

listening-on = 🦜 I now answer every message in this channel.
listening-off = 🦜 In this channel I now answer only who mentions me or replies to me.
listening-already-on = I answer every message in this channel already.
listening-already-off = I answer only who addresses me in this channel already.
language-chosen = From now on I speak English in this server.
undo = Undo

help-title = Talk with me
help-text =
    To talk: **mention me**, reply to one of my messages, or write me directly, and I answer.
    `/perroquet here` makes me answer everything in a channel; `/perroquet away` takes that back.
    `/forget` deletes what you said to me, for good.
    `/ping` shows whether all of me is up.

    I remember only what is said to me, for the conversation's sake. It is never used for training.

forget-me-question = Delete everything you said to me here, and my answers to it? That cannot be taken back.
forget-channel-question = Delete everything that was said to me in this channel? That cannot be taken back.
forget-confirm = Forget it
forget-keep = Keep it
forget-kept = Nothing was deleted.
forgotten =
    { $count ->
        [one] One message is forgotten.
       *[other] { $count } messages are forgotten.
    }

ping-well = 🦜 All is well
ping-unwell = 🦜 A part of me is down
ping-up = up
ping-down = down
ping-nobody = nobody yet
ping-gateway = Discord
ping-database = Database
ping-redis = Redis
ping-generate = Generation workers
ping-finetune = Fine-tuning workers
ping-model = Answers here
