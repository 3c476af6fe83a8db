### /perroquet, and what several commands share.

command-perroquet = Settings of this server and channel
command-here-name = here
command-here = Answer every message in this channel
command-away-name = away
command-away = In this channel, answer only those who address me
command-language-name = language
command-language = Choose the language I speak of myself in this server
option-language-name = language
option-language = English or French
command-teachers-name = teachers
command-teachers = Choose a role that may teach me and choose models; without one, nobody but managers
option-teachers-role-name = role
option-teachers-role = Left out: only those who manage the server
teachers-chosen = Members with { $role } may now teach me and choose who answers. So that Discord shows them the commands, allow the role in Server Settings → Integrations → Perroquet for `/finetune` and `/models`.
teachers-none = Only those who manage the server may teach me and choose who answers.
command-help-name = help
command-help = What I can do
listening-on = 🦜 I now answer every message in this channel.
listening-off = 🦜 In this channel I now answer only those who mention me or reply to me.
listening-already-on = I answer every message in this channel already.
listening-already-off = I answer only those who address me in this channel already.
language-chosen = From now on I speak English in this server.
undo = Undo
help-title = Talk with me
help-text =
    To talk: **mention me**, reply to one of my messages, or write me directly, and I answer.
    `/perroquet here` makes me answer everything in a channel; `/perroquet away` takes that back.
    `/forget` deletes what you said to me, for good.
    `/ping` shows whether all of me is up.

    I remember only what is said to me, for the conversation's sake. It is never used for training.
