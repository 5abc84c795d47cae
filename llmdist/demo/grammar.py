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
    "Bella": ("bee", "She"), "Max": ("mouse", "He"), "Lily": ("ladybird", "She"), "Sam": ("snail", "He"),
}  # fmt: skip
FRIENDS = ("Bruno the beetle", "Clara the cricket", "Felix the frog", "Wanda the worm", "Pip the spider")
OBJECTS = ("crumb", "seed", "leaf", "berry", "shell", "twig", "petal", "nut")
COLOURS = ("red", "golden", "green", "brown", "tiny", "round")
PLACES = ("garden", "forest", "meadow", "hill", "river", "barn")
TROUBLES = {
    "It began to rain": "as a roof",
    "A deep puddle was in the way": "as a bridge",
    "The wind was very cold": "as a wall",
    "The night was very dark": "as a bed",
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
            f"The {kind}s were asleep, but {name} the {kind} went to the {place}.",
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
    ]
    rng.shuffle(questions)
    return Tale(sentences, tuple(questions))
