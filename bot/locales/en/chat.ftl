### Talking with members.

chat-placeholder = 🦜 …
chat-thinking = 🦜 I am still thinking.
chat-waiting = { $ahead ->
    [0] 🦜 Your question is next.
    [one] 🦜 Your question waits its turn; { $ahead } other came before it.
   *[other] 🦜 Your question waits its turn; { $ahead } others came before it.
}
chat-delayed = 🦜 Part of me is down. Your message is kept, and I will answer as soon as I can.
chat-cancelled = 🦜 An admin called this answer off.
chat-database-down = 🦜 I cannot reach my memory at the moment. Your message is kept, and I will answer when it is back.
chat-ask-what = 🦜 Yes? Write me something.
chat-text-only = 🦜 I can only read text. Write me something and I will answer.
chat-text-too-long = 🦜 That is longer than the { $limit } characters I can read at once. Please send it in pieces.
chat-too-many = 🦜 That is a lot at once. I am still busy with earlier questions; ask again in a moment.
