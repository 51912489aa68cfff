"""What happens in the stories: short chains of cause and effect, as templates (narrator.py explains their language).

An episode is a tuple of steps; a step is a tuple of ways to say it, one of which is drawn. Episodes for two people use A and B.
"""

from __future__ import annotations

Step = tuple[str, ...]
Episode = tuple[Step, ...]

ALONE: tuple[Episode, ...] = (
    (  # something is lost and found
        ("[A] <have> {a x:treasure}.", "[A] <own> {a x:treasure}."),
        ("{!when} {=the x} <be> not there.", "one day [A] <lose> {the x}.", "but [A] <can> not find {it x} anywhere."),
        ("[A] <look> {!under} and {!under}.", "[A] <look> everywhere, but {=it x} <be> not {!under}.", "[A] <be> {~sad} because {=the x} <be> gone."),
        ("{!then} [A] <find> {the x} {!under p}.", "{!then} [A] <see> {the x} {!under p}."),
        ("{=the x} <have> been {p} all the time!", "[A] <be> {~glad} because {=the x} <be> back.", "nobody <have> ever been so {~glad}."),
    ),
    (  # hunger
        ("[A] <be> hungry.", "[A] <be> very hungry, because there <be> not any food left.", "[A] <have> not eaten anything all day."),
        ("so [A] <go> {!to} and <buy> {a x:food}, {some y:mass} and {two z:fruit}.", "[A] <take> {a x:food}, {some y:mass} and {two z:fruit} from the shelf."),
        ("[A] <put> {the x}, {the y} and {the z} into a basket.", "[A] <put> {the x}, {the y} and {the z} on the table."),
        ("first [A] <eat> {the x}, then {the y}, and then {the z}.", "[A] <eat> {the x}, {the y} and {the z} {!loudly}."),
        ("now there <be> not any {y} left.", "now [A] <be> not hungry any more.", "now [A] <be> full and {~tired}."),
    ),
    (  # weather
        ("{!when} [A] <go> {!to} without any umbrella.", "{!when} [A] <walk> {!to} alone."),
        ("[A] <do> not have any coat, and the rain <begin> to fall.", "dark clouds came, and it began to rain."),
        ("so [A] <get> very wet.", "[A his] shoes and [A his] hat were soon wet.", "because of the rain [A] <be> wet and cold."),
        ("[A] <run> home and <dry> [A self] by the stove.", "at home [A] <dry> [A self] and <drink> {some y:drink}.", "[A] <warm> [A self] at the fire."),
        ("[A] never <go> out without an umbrella again.", "\"I will never go out without my umbrella again,\" {!said} [A name].", "[A] <have> never been so wet before."),
    ),
    (  # an accident
        ("[A] <want> to cut {a y:food} with {a x:tool}.", "[A] <use> {a x:tool} to mend {a y:furniture}.", "[A] <work> with {a x:tool} {!inside}."),
        ("{=the x} <be> sharp, and [A] <hurt> [A self].", "[A] <be> not careful and <hurt> [A self] with {the x}.", "[A] <cut> [A self], because {=the x} <be> old."),
        ("[A] <cry> {!loudly}.", "[A] <tell> [A self] not to cry.", "\"I have hurt myself,\" {!said} [A name]."),
        ("{!then} [A] <feel> better.", "the doctor <say> that nobody <have> ever been braver.", "[A] <ask> [A self] how it could happen."),
    ),
    (  # making something
        ("[A] <build> {a x:toy}.", "[A] <make> [A self] {a x:clothes}.", "[A] <make> {a x:toy} with [A his] own hands.", "[A] <paint> {a x:furniture}."),
        ("it <take> a long time.", "[A] <work> from Monday to Friday.", "every evening [A] <work> on {the x}.", "nobody <help> [A him]."),
        ("at last {=the x} <be> ready.", "on Sunday {=the x} <be> ready.", "{!then} {=it x} <be> finished."),
        ("[A] <be> {~glad} and {~glad}.", "[A] <be> proud of [A self].", "[A] <show> {it x} to everybody.", "\"I made it all by myself,\" {!said} [A name]."),
    ),
    (  # an animal
        ("{!when} [A] <see> {a x:animal} {!outside p}.", "{!when} [A] <meet> {a x:animal} {!outside p}.", "there <be> {a x:animal} {!outside p}."),
        ("{=the x} <be> {~afraid} and <hide> itself under a bush.", "{=the x} <be> hungry, because {=it x} <have> not found any food.", "{=the x} <look> at [A him] and <do> not move."),
        ("[A] <give> {it x} {some y:mass}.", "[A] <give> {the x} {a y:food} and {some z:mass}.", "[A] <speak> to {it x} {!loudly}."),
        ("{=the x} <eat> and <be> not {~afraid} any more.", "{=it x} <do> not run away.", "{!then} {=the x} <follow> [A him] home.", "{=the x} <lie> down next to [A him] and <fall> asleep."),
        ("since then [A] and {the x} have been friends.", "[A] never <forget> {the x}.", "[A] <have> never had a better friend."),
    ),
    (  # looking at oneself
        ("[A] <buy> {a x:clothes} {!when}.", "[A] <put> on {a x:clothes}.", "[A] <find> {a x:clothes} {!under}."),
        ("[A] <look> at [A self] in the mirror.", "[A] <see> [A self] in the water.", "[A] <admire> [A self] in the window."),
        ("\"I have never looked so funny,\" {!said} [A name].", "\"This {x} is too big for me,\" [A name] <say> to [A self].", "[A] <laugh> at [A self]."),
        ("{!then} [A] <wear> {the x} {!to}.", "[A] <keep> {the x}.", "[A] <hide> {the x} {!under}."),
    ),
    (  # night
        ("{!when} [A] <hear> a noise {!inside}.", "at night [A] <hear> something {!outside}."),
        ("[A] <be> {~afraid}.", "[A] <be> {~afraid}, because [A] <be> alone.", "[A] <ask> [A self] who it <be>."),
        ("\"Is anybody there?\" {!said} [A name]. Nobody answered.", "[A] <do> not see anyone.", "\"Who is there?\" {!said} [A name]. There was not any answer."),
        ("it was only {a x:animal}!", "then [A] <see> {a x:animal} behind {a y:plant}."),
        ("[A] <laugh> and <go> back to bed.", "[A] <be> not {~afraid} any more.", "{=the x} <be> as {~afraid} as [A name]."),
    ),
    (  # plants
        ("[A] <plant> {a x:plant} {!outside p}.", "[A] <have> {a x:plant} {!outside p}."),
        ("every day [A] <give> {it x} water.", "every morning [A] <go> {p} and <look> at {the x}.", "[A] never <forget> to water {it x}."),
        ("{=the x} <grow> and <grow>.", "because of the sun and the rain {=the x} <grow> fast.", "in the summer {=the x} <be> taller than [A name]."),
        ("now there are {two f:fruit} under {it x}.", "{=two b:animal} <live> under {it x}.", "{=two b:animal} <sit> under {the x} and <sing>."),
        ("[A] <be> {~glad}.", "nobody <have> ever seen anything like {it x}."),
    ),
    (  # waiting
        ("[A] <wait> for {a x:vehicle}.", "[A] <want> to travel in {a x:vehicle}."),
        ("{=the x} <be> late.", "{=the x} <do> not come.", "at ten o'clock {=the x} <have> not come yet.", "first one hour <go> by, then another hour."),
        ("so [A] <sit> down and <read> a book.", "[A] <begin> to walk.", "[A] <eat> {a f:food} and <drink> {some m:drink}.", "[A] <talk> to [A self]."),
        ("at last {=the x} <come>.", "{!then} {=it x} <come>, and [A] <get> in.", "\"Here it comes!\" {!said} [A name]."),
    ),
)

TOGETHER: tuple[Episode, ...] = (
    (  # giving
        ("[A] <have> {a x:toy}.", "[A] <find> {a x:treasure} {!outside}.", "[A] <buy> {a x:treasure} {!when}."),
        ("[A] <give> {the x} to [B him].", "[A] <give> [B him] {the x}.", "{!then} [A] <send> {the x} to [B him]."),
        ("now [B name] <have> {the x}.", "now {=the x} <belong> to [B him].", "[B] <thank> [A him] for {it x}."),
        ("\"Who has it now?\" \"[B name] has it.\"", "[B] <keep> {it x} {!under}.", "[B] <put> {it x} {!under} and <smile>."),
    ),
    (  # asking where
        ("\"Where is my hat?\" <ask> [A name].", "\"Have you seen my hat?\" <ask> [A name]."),
        ("\"It is {!under p},\" {!said} [B name].", "\"Did you look {!under p}?\" {!said} [B name]."),
        ("[A] <look> {p}, and there it was.", "so [A] <go> and <look> {p}."),
        ("\"Thank you, [B name]!\" {!said} [A name].", "[A] <thank> [B him].", "[A] <put> it on and <look> at [A self] in the mirror."),
    ),
    (  # a quarrel
        ("[A+B] <want> to have the same chair.", "[A+B] <quarrel> about {a x:toy}.", "[A] <take> {a x:toy} from [B him]."),
        ("[B] <be> {~angry}.", "[B] <be> {~angry}, because [A name] <do> not say anything.", "\"That is not yours,\" {!said} [B name]."),
        ("[A] <be> sorry.", "\"I am sorry, [B name],\" {!said} [A name].", "[A] <blame> [A self]."),
        ("{!then} [they] <be> friends again.", "so [they] <share> it.", "[they] <laugh> at [they self]."),
    ),
    (  # helping
        ("[B] <can> not {!skill s}.", "[B] <have> never learned to {!skill s}."),
        ("[A] <be> very {~trait}, and [A] <can> {s} well.", "but [A] <can> {s}.", "\"Can you {s}?\" [B name] <ask> [A him]. \"Yes, I can,\" {!said} [A name]."),
        ("[A] <teach> [B him] to {s}.", "[A] <show> [B him] how to {s}.", "every {!day} [A] <help> [B him]."),
        ("now [B name] <can> {s} too.", "now [they] both <can> {s}.", "[B] <be> proud of [B self].", "{!then} [B] <do> it all by [B self]."),
    ),
    (  # a trip
        ("{!when} [A+B] <go> {!to}.", "[A] <ask> [B him] to come {!to}. {!then} [they] <go>."),
        ("[they] <take> {a x:food}, {some y:mass} and {two z:fruit}.", "[they] <see> {a x:animal}, {a y:vehicle} and {two z:animal}."),
        ("[A] <like> {the x}, but [B] <like> {the z}.", "[A] <count> {the z}. [B] <look> at {the x}."),
        ("in the evening [they] <be> {~tired}.", "[they] <enjoy> [they self].", "neither [A name] nor [B name] had ever been there before.", "{!then} [they] <go> home."),
    ),
    (  # hiding
        ("[A+B] <play> {!outside}.", "[A] <play> with [B him] {!inside}."),
        ("[A] <hide> [A self] {!under p}.", "[B] <close> [B his] eyes and <count> to ten. [A] <hide> [A self] {!under p}."),
        ("[B] <look> {!under}, but [A name] <be> not there.", "[B] <can> not find [A him] anywhere.", "[B] <do> not hear anything."),
        ("then [B] <look> {p} and <see> [A him].", "\"I am here, {p}!\" {!said} [A name].", "at last [B] <find> [A him] {p}."),
    ),
    (  # visit and illness
        ("[B] <be> ill.", "[B] <be> in bed, because [B] <have> hurt [B self]."),
        ("[A] <visit> [B him] {!then}.", "[A] <bring> [B him] {some y:mass} and {a x:food}."),
        ("\"How are you, [B name]?\" <ask> [A name].", "\"{!hello}, [B name],\" {!said} [A name]. \"Do you need anything?\""),
        ("\"I do not need anything,\" {!said} [B name].", "\"I am better today,\" {!said} [B name].", "\"Nobody has ever been so kind to me,\" {!said} [B name]."),
        ("{!then} [B] <be> well again.", "[A] <stay> with [B him] and <read> {!loudly}.", "[A] <tell> [B him] about {!topic}."),
    ),
    (  # work
        ("[A+B] <work> {!inside p}.", "[A] <meet> [B him] {!inside p}."),
        ("[A] <talk> about {!topic t}, and [B] <listen>.", "[they] <talk> about {!topic t}.", "[A] <ask> [B him] a question about {!topic t}."),
        ("[B] <know> everything about {t}.", "[A] <be> {~trait}, but [B] <be> {~trait} too.", "[B] <do> not know anything about {t}.", "[B] <explain> it {!loudly}."),
        ("[A] <write> [A self] a note.", "{!then} [A] <thank> [B him].", "[they] <ask> [they self] if anyone <have> ever thought of it."),
    ),
    (  # a secret
        ("[A] <tell> [B him] a secret.", "\"Do not tell anyone,\" [A name] <whisper> to [B him]."),
        ("\"{!inside p} there is {a x:treasure},\" {!said} [A name].", "\"I have hidden {a x:treasure} {!under p},\" {!said} [A name]."),
        ("[B] <do> not tell anybody.", "[B] never <tell> anyone about it.", "[B] often <think> of it."),
        ("{!then} [they] <go> and <look>.", "{!then} [they] <find> {the x} {p}.", "nobody <have> ever heard of {the x}."),
    ),
    (  # race
        ("[A+B] <run> {!to}.", "[A+B] <have> a race {!to}."),
        ("[A] <be> faster than [B name].", "first [B] <be> in front, then [A name].", "[B] <fall> and <hurt> [B self], so [A] <stop>."),
        ("[A] <win>, and [B] <be> not {~angry}.", "[A] <wait> for [B him].", "[A] <help> [B him] up."),
        ("\"You are faster than anyone,\" {!said} [B name].", "\"I have never run so fast,\" {!said} [A name]."),
    ),
)
