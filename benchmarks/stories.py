"""Short stories about old buildings: any number of questions and answers that differ in what they tell."""

import random

PLACES = (
    "Lisbon Oslo Nairobi Quito Hanoi Perth Malmo Cusco Tunis Riga Bergen Osaka Lagos Turin Cork Varna Salta Davao "
    "Jaipur Izmir Tartu Gdansk Porto Leeds Ghent Basel Graz Split Patras Bilbao"
)
_THINGS = (
    "bridge lighthouse library orchard tunnel market harbour museum theatre vineyard foundry station observatory mill "
    "cathedral reservoir garden archive dockyard brewery stadium quarry monastery glasshouse windmill aqueduct"
)
PEOPLE = (
    "Ada Bruno Chiara Dmitri Elif Farah Goran Hana Ivo Jonas Keiko Lucia Mateo Nadia Omar Petra Quentin Rosa Sven Tomas"
)
_VERBS = "built painted sold restored measured flooded moved closed opened photographed mapped insured"
_REASONS = (
    "the river had changed its course|nobody could pay the guards|a storm took its roof|the council lost a wager|"
    "trains began to stop there|the old plans were found in a cellar|its stones were wanted elsewhere|"
    "a film was made in it|two guilds could not agree|the lime trees had grown too tall|an heir came home from sea|"
    "the price of copper fell|bees had moved into the tower|a mapmaker had drawn it twice"
)
_ENDS = (
    "The papers are kept in the town hall.|People still speak of it at weddings.|It took eleven winters.|"
    "A plaque beside the door says so.|The bill was never paid in full.|Children learn a rhyme about it.|"
    "Only the cellar is older.|Nobody has disproved that since.|The mayor keeps the key.|Visitors seldom notice it."
)
_ASKED = (
    "Why was the {thing} of {place} {verb} by {person}?|What made {person} have the {thing} in {place} {verb}?|"
    "Tell me how the {thing} near {place} came to be {verb}.|{person} {verb} a {thing} in {place}: for what reason?|"
    "I read that the {place} {thing} was {verb}. Is that so, and who was {person}?|"
    "Explain to a visitor of {place} why {person} once {verb} the {thing}."
)
_ANSWERED = (
    "{person} had it {verb} because {reason}. {end}|In {place} the {thing} was {verb} when {reason}. {end}|"
    "At the {thing} of {place} {person} saw no other way after {reason}. {end}|"
    "As {person} tells it, {reason}, and that was that. {end}|"
    "{place} had a {thing} and {reason}, so {person} did it. {end}"
)

_WORDS = {
    "thing": _THINGS.split(), "place": PLACES.split(), "verb": _VERBS.split(), "person": PEOPLE.split(),
    "reason": _REASONS.split("|"), "end": _ENDS.split("|"),
}  # fmt: skip


def story(chance: random.Random) -> tuple[str, str]:
    """Return a question and an answer to it."""
    said = {name: chance.choice(words) for name, words in _WORDS.items()}
    return chance.choice(_ASKED.split("|")).format(**said), chance.choice(_ANSWERED.split("|")).format(**said)
