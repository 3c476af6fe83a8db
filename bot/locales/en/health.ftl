### /ping.

command-ping-name = ping
command-ping = Is everything up, and who answers here?
ping-well = 🦜 All is well
ping-unwell = 🦜 Part of me is down
ping-up = up
ping-down = down
ping-nobody = nobody yet
ping-gateway = Discord
ping-database = Database
ping-redis = Redis
ping-generate = Generation workers
ping-finetune = Fine-tuning workers
ping-model = Answers here
