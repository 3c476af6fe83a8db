### /ping.

command-ping-name = ping
command-ping = Tout fonctionne-t-il, et qui répond ici ?
ping-well = 🦜 Tout va bien
ping-unwell = 🦜 Une partie de moi est en panne
ping-up = en marche
ping-down = en panne
ping-nobody = personne encore
ping-gateway = Discord
ping-database = Base de données
ping-redis = Redis
ping-generate = Ouvriers de génération
ping-finetune = Ouvriers d’affinage
ping-model = Répond ici
