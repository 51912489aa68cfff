"""The words of the generated stories, by meaning. Gender is never tied to anything here but names, kinship and pronouns."""

from __future__ import annotations

# Sixty names each, drawn alike: what a name does in a story is drawn without looking at its gender.
NAMES = {
    "f": ("Anna Mary Lucy Emma Clara Rose Alice Grace Helen Jane Kate Laura Nora Ruth Sarah Ella Eva Ida Julia Maria Martha Molly "
          "Nina Olga Paula Rita Sonia Vera Zoe Amina Fatima Leila Priya Mei Yuki Carmen Lucia Ingrid Chloe Dora Edith Flora Hannah "
          "Irene Lily Mabel Nancy Polly Rachel Susan Tessa Wendy Amy Beth Celia Diana Ellen Fiona Gina Hilda").split(),
    "m": ("Tom John Ben Jack Peter Paul Adam Carl David Eric Frank George Henry Ivan James Karl Leo Mark Noah Oscar Philip Ralph "
          "Simon Theo Victor Walter Max Ahmed Omar Hassan Ravi Chen Kenji Carlos Diego Lars Felix Hugo Jacob Kevin Luke Martin "
          "Nathan Oliver Patrick Robert Stephen Thomas Edward Fred Harry Jim Bill Daniel Arthur Albert Hans Otto Louis Joseph").split(),
}
PRONOUNS = {  # subject, object, possessive, reflexive
    "f": ("she", "her", "her", "herself"), "m": ("he", "him", "his", "himself"),
    "n": ("it", "it", "its", "itself"), "p": ("they", "them", "their", "themselves"),
}
KIN = {"f": ("mother", "sister", "aunt", "grandmother", "cousin", "friend", "neighbour"),
       "m": ("father", "brother", "uncle", "grandfather", "cousin", "friend", "neighbour")}
PEOPLE = {"f": ("girl", "woman"), "m": ("boy", "man")}

# Occupations: each is held by women and men alike, in the same sentences.
OCCUPATIONS = (
    "doctor nurse teacher baker farmer engineer driver cook lawyer judge painter singer pilot sailor tailor carpenter mechanic "
    "librarian gardener dancer secretary cleaner soldier guard scientist writer builder miner hunter shepherd manager clerk "
    "dentist plumber electrician hairdresser babysitter receptionist housekeeper programmer accountant chef student musician "
    "poet weaver potter butcher firefighter chemist surgeon janitor cashier professor reporter inventor sculptor blacksmith "
    "captain detective designer counselor analyst"
).split()

CLASSES: dict[str, tuple[str, ...]] = {
    "animal": tuple("dog cat horse cow goat sheep pig hen duck goose rabbit fox bear wolf mouse bird owl frog donkey squirrel "
                    "hedgehog turtle crow lion monkey elephant deer kitten puppy".split()),
    "fruit": tuple("apple pear plum cherry orange banana lemon peach fig berry".split()),
    "food": ("cake", "loaf", "pie", "sandwich", "egg", "potato", "carrot", "onion", "pancake", "biscuit", "sausage", "tomato"),
    "mass": ("bread", "milk", "water", "honey", "cheese", "butter", "soup", "sugar", "salt", "rice", "flour", "tea", "juice"),
    "drink": ("milk", "water", "tea", "juice", "soup"),
    "toy": ("ball", "kite", "doll", "drum", "boat", "train", "puzzle", "top", "whistle", "book", "robot", "balloon"),
    "tool": ("hammer", "saw", "spade", "rope", "ladder", "bucket", "broom", "brush", "lamp", "knife", "needle", "basket", "axe"),
    "treasure": ("key", "ring", "coin", "letter", "map", "clock", "bell", "box", "stone", "feather", "shell", "mirror", "umbrella"),
    "clothes": ("hat", "coat", "shirt", "scarf", "dress", "glove", "sock", "shoe", "jacket", "apron", "cap"),
    "vehicle": ("car", "bus", "cart", "train", "boat", "bicycle", "ship", "truck"),
    "furniture": ("table", "chair", "bed", "shelf", "desk", "bench", "cupboard", "stove"),
    "plant": ("tree", "rose", "flower", "bush", "oak", "tulip", "hedge", "apple tree"),
    "building": ("house", "school", "church", "mill", "shop", "barn", "tower", "bridge", "castle", "library", "bakery", "station"),
}
ADJECTIVES = {
    "size": ("big", "small", "little", "large", "tiny", "huge", "long", "short"),
    "colour": ("red", "blue", "green", "yellow", "white", "black", "brown", "grey", "golden", "silver"),
    "state": ("old", "new", "clean", "dirty", "broken", "wet", "dry", "heavy", "light", "pretty", "strange", "empty", "open"),
    "glad": ("happy", "glad", "proud", "cheerful", "pleased", "excited"),
    "sad": ("sad", "unhappy", "upset", "lonely", "disappointed"),
    "afraid": ("afraid", "frightened", "scared", "worried", "nervous"),
    "angry": ("angry", "cross", "annoyed", "furious"),
    "tired": ("tired", "sleepy", "weary", "exhausted"),
    "trait": ("kind", "clever", "brave", "quiet", "funny", "honest", "patient", "careful", "shy", "strong", "friendly", "lazy",
              "curious", "polite", "stubborn", "gentle"),
}
LISTS: dict[str, tuple[str, ...]] = {
    "inside": ("in the kitchen", "in the barn", "in the library", "at school", "in the hall", "in the attic", "in the cellar",
               "in the shop", "at the station", "in the hospital", "in the office", "in the workshop"),
    "outside": ("in the garden", "in the forest", "by the river", "on the beach", "in the park", "on the hill", "near the lake",
                "in the field", "at the market", "in the street", "behind the house", "near the old bridge", "in the village"),
    "under": ("under the bed", "behind the door", "on the shelf", "in the drawer", "under the table", "in the cupboard",
              "behind the curtain", "under a stone", "in the basket", "on top of the wardrobe", "next to the stove"),
    "to": ("to the market", "to the river", "to school", "to the village", "to the station", "to the forest", "to the library",
           "to the beach", "to the hospital", "to the bakery", "to the old mill", "to the harbour", "to town"),
    "when": ("one day", "one morning", "one evening", "one night", "one summer", "last week", "on Monday", "on Sunday",
             "early in the morning", "late at night", "after lunch", "before breakfast", "in the spring", "on a cold day"),
    "then": ("then", "after that", "a little later", "the next day", "in the afternoon", "in the evening", "an hour later", "soon",
             "at last", "that night", "the following week"),
    "loudly": ("loudly", "quietly", "softly", "slowly", "quickly", "carefully", "gently", "happily", "at once", "for a long time"),
    "wet weather": ("it was raining", "it was snowing", "there was a storm", "the wind was strong"),
    "said": ("said", "answered", "replied", "cried", "whispered", "shouted", "called"),
    "hello": ("Hello", "Good morning", "Good evening", "Good day", "Welcome"),
    "work": ("works", "worked", "is working"),
    "sound": ("moo", "quack", "bark", "knock", "tick", "drip", "hush", "splash", "clap", "ring", "hop", "boom"),
    "topic": ("the stars", "the sea", "old times", "the weather", "music", "numbers", "the moon", "faraway countries", "machines",
              "medicine", "the law", "cooking", "animals", "football", "history", "dancing", "children", "money"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "skill": ("swim", "read", "cook", "paint", "sew", "drive", "sing", "dance", "write", "count", "climb", "skate", "fish",
              "repair clocks", "play the piano", "speak French", "ride a horse", "bake bread", "fix engines", "solve puzzles"),
}
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty")
MANY = ("many", "several", "some", "a few", "most", "all", "both")

# Verbs whose past and participle do not follow the rule.
IRREGULAR = {
    "be": ("was", "been"), "have": ("had", "had"), "do": ("did", "done"), "go": ("went", "gone"), "see": ("saw", "seen"),
    "find": ("found", "found"), "give": ("gave", "given"), "take": ("took", "taken"), "make": ("made", "made"),
    "say": ("said", "said"), "tell": ("told", "told"), "come": ("came", "come"), "run": ("ran", "run"), "eat": ("ate", "eaten"),
    "drink": ("drank", "drunk"), "sleep": ("slept", "slept"), "sit": ("sat", "sat"), "stand": ("stood", "stood"),
    "hear": ("heard", "heard"), "hold": ("held", "held"), "keep": ("kept", "kept"), "lose": ("lost", "lost"),
    "think": ("thought", "thought"), "know": ("knew", "known"), "feel": ("felt", "felt"), "fall": ("fell", "fallen"),
    "break": ("broke", "broken"), "buy": ("bought", "bought"), "bring": ("brought", "brought"), "sell": ("sold", "sold"),
    "write": ("wrote", "written"), "read": ("read", "read"), "sing": ("sang", "sung"), "swim": ("swam", "swum"),
    "fly": ("flew", "flown"), "grow": ("grew", "grown"), "hide": ("hid", "hidden"), "catch": ("caught", "caught"),
    "teach": ("taught", "taught"), "leave": ("left", "left"), "meet": ("met", "met"), "cut": ("cut", "cut"),
    "hurt": ("hurt", "hurt"), "put": ("put", "put"), "let": ("let", "let"), "get": ("got", "got"), "win": ("won", "won"),
    "wake": ("woke", "woken"), "throw": ("threw", "thrown"), "forget": ("forgot", "forgotten"), "begin": ("began", "begun"),
    "build": ("built", "built"), "send": ("sent", "sent"), "lie": ("lay", "lain"), "ride": ("rode", "ridden"),
    "dig": ("dug", "dug"), "wear": ("wore", "worn"), "can": ("could", "could"), "will": ("would", "would"),
    "drive": ("drove", "driven"), "speak": ("spoke", "spoken"), "draw": ("drew", "drawn"), "shake": ("shook", "shaken"),
    "light": ("lit", "lit"), "understand": ("understood", "understood"),
}
DOUBLING = ("stop", "clap", "nod", "hug", "drop", "plan", "beg", "step", "grab", "chat", "rub")
