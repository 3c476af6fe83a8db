### /perroquet, and what several commands share.

command-perroquet = Settings of this server and channel
command-here-name = here
command-here = Answer every message in this channel
command-away-name = away
command-away = Answer only those who address me in this channel
command-language-name = language
command-language = Choose the language I speak on this server
option-language-name = language
option-language = English or French
command-teachers-name = teachers
command-teachers = Choose a role that may teach me and choose models; without one, only server managers
option-teachers-role-name = role
option-teachers-role = If left out, only those who manage the server
teachers-chosen = Members with { $role } may now teach me and choose who answers. For Discord to show them the commands, allow the role in Server Settings → Integrations → Perroquet, for `/finetune` and `/models`.
teachers-none = Only those who manage the server may teach me and choose who answers.
command-help-name = help
command-help = What I can do
listening-on = 🦜 I now answer every message in this channel.
listening-off = 🦜 In this channel I now answer only those who mention me or reply to me.
listening-already-on = I already answer every message in this channel.
listening-already-off = I already answer only those who address me in this channel.
language-chosen = From now on I speak English on this server.
undo = Undo
help-title = Talk with me
help-text =
    To talk, **mention me**, reply to one of my messages, or send me a direct message.
    `/forget me` deletes for good what you said to me.
    `/ping` shows whether everything is up.

    I remember only what is said to me, to follow the conversation. It is never used for training.
help-channel-title = This channel
help-channel =
    `/perroquet here` makes me answer every message in this channel.
    `/perroquet away` makes me answer only those who address me.
help-messages-title = What was said
help-messages = `/forget channel` deletes for good what was said to me in this channel.
help-teaching-title = Teaching
help-teaching =
    `/finetune start` teaches me from your own files.
    `/models list` shows the models, and who answers here.
    `/models use` chooses who answers; `/models rollback` goes back.
    `/models compare` asks two versions the same question.
help-server-title = This server
help-server =
    `/jobs list` shows what I was asked to do, and what became of it.
    `/status` shows who is at work, what is waiting, and the last error.
    `/perroquet language` chooses the language I speak here.
    `/perroquet teachers` chooses a role that may teach me.
