"""Prose in the two languages that Perroquet speaks, long out of copyright."""

TEXTS = {
    "English": (
        "Alice was beginning to get very tired of sitting by her sister on the bank, and of having "
        "nothing to do: once or twice she had peeped into the book her sister was reading, but it "
        "had no pictures or conversations in it, “and what is the use of a book,” thought Alice "
        "“without pictures or conversations?” So she was considering in her own mind (as well as "
        "she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of "
        "making a daisy-chain would be worth the trouble of getting up and picking the daisies, "
        "when suddenly a White Rabbit with pink eyes ran close by her. There was nothing so very "
        "remarkable in that; nor did Alice think it so very much out of the way to hear the Rabbit "
        "say to itself, “Oh dear! Oh dear! I shall be late!” (when she thought it over afterwards, "
        "it occurred to her that she ought to have wondered at this, but at the time it all seemed "
        "quite natural); but when the Rabbit actually took a watch out of its waistcoat-pocket, "
        "and looked at it, and then hurried on, Alice started to her feet, for it flashed across "
        "her mind that she had never before seen a rabbit with either a waistcoat-pocket, or a "
        "watch to take out of it, and burning with curiosity, she ran across the field after it, "
        "and fortunately was just in time to see it pop down a large rabbit-hole under the hedge."
    ),
    "French": (
        "L’année 1866 fut marquée par un événement bizarre, un phénomène inexpliqué et "
        "inexplicable que personne n’a sans doute oublié. Sans parler des rumeurs qui agitaient "
        "les populations des ports et surexcitaient l’esprit public à l’intérieur des continents, "
        "les gens de mer furent particulièrement émus. Les négociants, armateurs, capitaines de "
        "navires, skippers et masters de l’Europe et de l’Amérique, officiers des marines "
        "militaires de tous pays, et, après eux, les gouvernements des divers États des deux "
        "continents, se préoccupèrent de ce fait au plus haut point. En effet, depuis quelque "
        "temps, plusieurs navires s’étaient rencontrés sur mer avec « une chose énorme », un objet "
        "long, fusiforme, parfois phosphorescent, infiniment plus vaste et plus rapide qu’une "
        "baleine. Les faits relatifs à cette apparition, consignés aux divers livres de bord, "
        "s’accordaient assez exactement sur la structure de l’objet ou de l’être en question, la "
        "vitesse inouïe de ses mouvements, la puissance surprenante de sa locomotion, la vie "
        "particulière dont il semblait doué."
    ),
}
