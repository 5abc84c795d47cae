"""A seedable grammar of five-sentence tales and questions about them.

It is the only source of the demo model's training text, so no licence question arises. Facts of a tale
(hero, object, place, friend) are drawn once and reused, so that an answer can be copied from the tale:
exact match then measures what quantisation damages. It is not a language model and has no memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

__all__ = ["Tale", "tale"]

HEROES = {
    "Anna": ("ant", "She"), "Otto": ("ant", "He"), "Mira": ("ant", "She"), "Toby": ("ant", "He"),
    "Nora": ("ant", "She"), "Hugo": ("ant", "He"), "Bella": ("bee", "She"), "Max": ("mouse", "He"),
    "Lily": ("ladybird", "She"), "Sam": ("snail", "He"), "Rosa": ("moth", "She"), "Ben": ("beaver", "He"),
}  # fmt: skip
PLURALS = {"mouse": "mice"}
FRIENDS = (
    "Bruno the beetle", "Clara the cricket", "Felix the frog", "Wanda the worm", "Pip the spider",
    "Dora the duck", "Emil the robin", "Greta the goose", "Henry the hedgehog", "Ida the owl",
)  # fmt: skip
OBJECTS = (
    "crumb", "seed", "leaf", "berry", "shell", "twig", "petal", "nut", "button", "feather", "stone", "pod",
    "ribbon", "cork", "spoon", "thread",
)  # fmt: skip
COLOURS = ("red", "golden", "green", "brown", "tiny", "round", "blue", "white", "shiny", "soft", "long", "dry")
PLACES = (
    "garden", "forest", "meadow", "hill", "river", "barn", "pond", "field", "mill", "orchard", "bridge", "cave",
)  # fmt: skip
TROUBLES = {
    "It began to rain": "as a roof",
    "A deep puddle was in the way": "as a boat",
    "The wind was very cold": "as a wall",
    "The night was very dark": "as a bed",
    "The sun was very hot": "as a hat",
    "A hungry cat came along": "as a shield",
}


@dataclass(frozen=True, slots=True)
class Tale:
    """One tale and its (question, answer) pairs; every answer stands in the tale."""

    sentences: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """Return the tale and its questions as the model is trained on them."""
        asked = "\n".join(f"Q: {question}\nA: {answer}" for question, answer in self.questions)
        return " ".join(self.sentences) + "\n" + asked + "\n"


def tale(rng: Random) -> Tale:
    """Return one tale; the same state of `rng` gives the same tale."""
    name = rng.choice(list(HEROES))
    kind, pronoun = HEROES[name]
    friend, place = rng.choice(FRIENDS), rng.choice(PLACES)
    thing = f"{rng.choice(COLOURS)} {rng.choice(OBJECTS)}"
    trouble = rng.choice(list(TROUBLES))
    opening = rng.choice(
        (
            f"{name} the {kind} went to the {place}.",
            f"One day {name} the {kind} walked to the {place}.",
            f"The {PLURALS.get(kind, kind + 's')} were asleep, but {name} the {kind} went to the {place}.",
        )
    )
    friend_name = friend.split()[0]
    sentences = (
        opening,
        f"There {pronoun.lower()} found a {thing}.",
        f"On the way home {pronoun.lower()} met {friend}.",
        f"{trouble}, so they used the {thing} {TROUBLES[trouble]}.",
        rng.choice(
            (
                f"{name} thanked {friend_name} and was happy.",
                f"Then {name} and {friend_name} went home together.",
            )
        ),
    )
    questions = [
        (f"What did {name} find?", f"a {thing}."),
        (f"Where did {name} go?", f"to the {place}."),
        (f"Whom did {name} meet?", f"{friend}."),
        (f"How did {name} use it?", f"{TROUBLES[trouble]}."),
    ]
    rng.shuffle(questions)
    return Tale(sentences, tuple(questions))
