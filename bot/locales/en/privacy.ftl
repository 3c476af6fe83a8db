### /forget.

command-forget-name = forget
command-forget = Delete what was said to me
command-forget-me-name = me
command-forget-me = Delete what you said to me here, and my answers to it
command-forget-channel-name = channel
command-forget-channel = Delete what was said to me in this channel
forget-me-question = Delete from my memory everything you said to me here, and my answers to it? This cannot be undone.
forget-channel-question = Delete from my memory everything that was said to me in this channel? This cannot be undone.
forget-confirm = Forget it
forget-keep = Keep it
forget-kept = Nothing was deleted.
forgotten =
    { $count ->
        [one] One message is forgotten. What you see in Discord stays there until somebody deletes it.
       *[other] { $count } messages are forgotten. What you see in Discord stays there until somebody deletes it.
    }
