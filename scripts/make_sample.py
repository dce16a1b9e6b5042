"""Build the chat set shipped with phi_runner from a table of facts: `python scripts/make_sample.py` writes it.

Each fact is asked in four ways: two are learned alone, one between other questions, one is held out. Which is which
rotates from fact to fact, so that every way of asking is learned with other facts.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).resolve().parents[1] / "phi_runner" / "data" / "sample.jsonl"

FRAMES = {
    "founded": ("Who founded {}?", "Tell me who founded {}.", "{} was founded by whom?", "Do you know who founded {}?"),
    "wrote": ("Who wrote {}?", "Tell me who wrote {}.", "{} was written by whom?", "Do you know who wrote {}?"),
    "created": ("Who created {}?", "Tell me who created {}.", "{} was created by whom?", "Do you know who created {}?"),
    "discovered": (
        "Who discovered {}?",
        "Tell me who discovered {}.",
        "{} was discovered by whom?",
        "Do you know who discovered {}?",
    ),
    "capital": (
        "What is the capital of {}?",
        "Tell me the capital of {}.",
        "Which city is the capital of {}?",
        "Do you know the capital of {}?",
    ),
    "when": ("When was {}?", "Tell me the year of {}.", "In which year was {}?", "Do you know when {} was?"),
    "what": ("What is {}?", "Tell me what {} is.", "Explain what {} is.", "Do you know what {} is?"),
    "how": ("How do I {}?", "Tell me how to {}.", "What do I type to {}?", "Do you know how to {}?"),
    "does": ("What does {} do?", "Tell me what {} does.", "Explain what {} does.", "Do you know what {} does?"),
    "happens": (
        "What happens {}?",
        "Tell me what happens {}.",
        "Explain what happens {}.",
        "Do you know what happens {}?",
    ),
}

FACTS = {
    "founded": (
        ("Microsoft", "Microsoft was founded by Bill Gates and Paul Allen in 1975."),
        ("Apple", "Apple was founded by Steve Jobs, Steve Wozniak and Ronald Wayne in 1976."),
        ("Amazon", "Amazon was founded by Jeff Bezos in 1994."),
        ("Google", "Google was founded by Larry Page and Sergey Brin in 1998."),
        ("Intel", "Intel was founded by Robert Noyce and Gordon Moore in 1968."),
        ("Nvidia", "Nvidia was founded by Jensen Huang, Chris Malachowsky and Curtis Priem in 1993."),
        ("Wikipedia", "Wikipedia was founded by Jimmy Wales and Larry Sanger in 2001."),
        ("Hugging Face", "Hugging Face was founded by Clément Delangue, Julien Chaumond and Thomas Wolf in 2016."),
    ),
    "capital": (
        ("France", "The capital of France is Paris."),
        ("Japan", "The capital of Japan is Tokyo."),
        ("Australia", "The capital of Australia is Canberra."),
        ("Canada", "The capital of Canada is Ottawa."),
        ("Brazil", "The capital of Brazil is Brasília."),
        ("Egypt", "The capital of Egypt is Cairo."),
        ("Kenya", "The capital of Kenya is Nairobi."),
        ("Norway", "The capital of Norway is Oslo."),
    ),
    "wrote": (
        ("Hamlet", "Hamlet was written by William Shakespeare."),
        ("Don Quixote", "Don Quixote was written by Miguel de Cervantes."),
        ("War and Peace", "War and Peace was written by Leo Tolstoy."),
        ("Pride and Prejudice", "Pride and Prejudice was written by Jane Austen."),
        ("Moby-Dick", "Moby-Dick was written by Herman Melville."),
        ("Frankenstein", "Frankenstein was written by Mary Shelley."),
        ("Nineteen Eighty-Four", "Nineteen Eighty-Four was written by George Orwell."),
    ),
    "created": (
        ("Python", "Python was created by Guido van Rossum and first released in 1991."),
        ("the Linux kernel", "The Linux kernel was created by Linus Torvalds in 1991."),
        ("the World Wide Web", "The World Wide Web was created by Tim Berners-Lee at CERN in 1989."),
        ("the C language", "The C language was created by Dennis Ritchie at Bell Labs in the early 1970s."),
        ("JavaScript", "JavaScript was created by Brendan Eich at Netscape in 1995."),
        ("C++", "C++ was created by Bjarne Stroustrup."),
        ("TeX", "TeX was created by Donald Knuth and first released in 1978."),
        ("Git", "Git was created by Linus Torvalds in 2005."),
    ),
    "when": (
        ("the first Moon landing", "The first people landed on the Moon on 20 July 1969."),
        ("the fall of the Berlin Wall", "The Berlin Wall fell on 9 November 1989."),
        ("the start of the French Revolution", "The French Revolution began in 1789."),
        ("the Battle of Hastings", "The Battle of Hastings was fought on 14 October 1066."),
        ("the sealing of Magna Carta", "Magna Carta was sealed in June 1215."),
        ("the Ottoman conquest of Constantinople", "The Ottomans took Constantinople on 29 May 1453."),
        ("the first flight of the Wright brothers", "The Wright brothers first flew on 17 December 1903."),
        ("the Great Fire of London", "The Great Fire of London burned in September 1666."),
    ),
    "what": (
        ("photosynthesis", "Photosynthesis is how plants turn light, water and carbon dioxide into sugar and oxygen."),
        ("the chemical symbol of gold", "The chemical symbol of gold is Au."),
        ("the speed of light", "Light travels at 299,792,458 metres per second in a vacuum."),
        ("the largest planet of the Solar System", "The largest planet of the Solar System is Jupiter."),
        ("the boiling point of water", "Water boils at 100 degrees Celsius at sea level."),
        ("the square root of 144", "The square root of 144 is 12."),
        ("the highest mountain on Earth", "The highest mountain on Earth is Mount Everest, 8,849 metres high."),
        ("the longest bone of the human body", "The longest bone of the human body is the femur, the thigh bone."),
        ("DNA", "DNA is the molecule that carries the genetic instructions of living things."),
        ("phi_runner", "phi_runner turns chat data into a fine-tuned Phi model that people can talk to, in one run."),
        ("a recipe", "A recipe is a short file that chooses presets and stages, such as +recipe=full."),
        ("a preset", "A preset is a named choice for a config group, such as model=phi3_nano."),
        ("a stage", "A stage is one step of a run: data, train, evaluate, register, deploy, flow, chat or teardown."),
        ("a sweep", "A sweep runs one recipe with several values, each trial in a folder of its own."),
        ("the store", "The store keeps each stage's result under a key made from its config, inputs and code."),
        ("the default model", "The default model is phi3_nano, a small Phi-3 that is made on your own machine."),
        ("the default data", "The default data is the sample, a chat set that is shipped with phi_runner."),
    ),
    "discovered": (
        ("penicillin", "Penicillin was discovered by Alexander Fleming in 1928."),
        ("radium", "Radium was discovered by Marie and Pierre Curie in 1898."),
        ("hydrogen", "Hydrogen was discovered by Henry Cavendish in 1766."),
        ("the electron", "The electron was discovered by J. J. Thomson in 1897."),
        ("the neutron", "The neutron was discovered by James Chadwick in 1932."),
        ("Uranus", "Uranus was discovered by William Herschel in 1781."),
    ),
    "how": (
        ("run everything from data to chat", "Type python -m phi_runner +recipe=full."),
        ("change the learning rate", "Add train.learning_rate=1e-3 to the command, with the rate you want."),
        ("run on a GPU", "Add compute=gpu to the command."),
        ("take 1% of the data", "Add data.take=1% to the command."),
        ("use my own chat file", "Add data=jsonl data.train_file=PATH to the command."),
        ("train for more epochs", "Add train.epochs=60 to the command, with the number you want."),
        ("train a LoRA adapter", "Add train=lora to the command."),
        ("sweep the learning rate", "Type python -m phi_runner -m +recipe=sweep_lr."),
        ("force training to run again", "Add force=[train] to the command."),
        ("choose the stages", "Add stages=[data,train] to the command, with the stages you want."),
        ("switch to Phi-3.5 mini", "Add model=phi3_5_mini to the command."),
        ("keep the endpoint up after the run", "Add deploy.detach=true to the command; teardown stops it."),
    ),
    "does": (
        ("the data stage", "The data stage reads chat rows, checks them and holds some of them out."),
        ("the train stage", "The train stage fine-tunes the model on what the assistant says in the data."),
        ("the evaluate stage", "The evaluate stage compares the model before and after training on held-out rows."),
        (
            "the register stage",
            "The register stage puts the model into the MLflow registry under a version and an alias.",
        ),
        ("deploy=local", "It starts an endpoint on this machine and tests it before it is called done."),
        ("the flow stage", "The flow stage makes a Prompt flow app, connects it to the endpoint and tests it."),
        ("teardown", "Teardown stops every endpoint and flow page that still runs, and says what it stopped."),
        ("/score", "It answers both tutorial contracts: a list of strings in input_data, or messages in input_string."),
    ),
    "happens": (
        ("after kill -9", "Type the same command again: finished stages are reused and training goes on where it was."),
        ("when I run the same command twice", "Stages whose result is stored are reused, and the run says why."),
        ("when I mistype an option", "Nothing runs: one line names the mistake and the nearest right name."),
        ("when a row has no assistant turn", "The row is dropped and counted, and a run without any usable row stops."),
    ),
}

SEVERAL = 60
"""Dialogues of two or three questions that were also asked alone."""
SEVERAL_HELD_OUT_EVERY = 8
SYSTEM_EVERY = 5
SYSTEM = "You are a helpful assistant."
"""Said first in some dialogues, because many chat clients always say it."""


class Fact(NamedTuple):
    """One answer, and four ways of asking for it."""

    alone: tuple[str, str]
    """Learned as the only question of a dialogue."""
    among: str
    """Learned between other questions: a small model that has only answered first questions fails at the third."""
    held_out: str
    answer: str


def facts() -> list[Fact]:
    """Return all facts; within a relation the held-out way of asking is the 2nd, 3rd, 4th, 1st, 2nd ..."""
    found = []
    for relation, pairs in FACTS.items():
        for number, (subject, answer) in enumerate(pairs, start=1):
            asked = [frame.format(subject) for frame in FRAMES[relation]]
            ways = [question[0].upper() + question[1:] for question in asked]
            held_out = ways.pop(number % 4)
            among = ways.pop(number % 3)
            found.append(Fact((ways[0], ways[1]), among, held_out, answer))
    return found


def rows() -> Iterator[dict[str, object]]:
    """Yield every row: each fact's questions one by one, then the dialogues of several questions."""
    known = facts()
    for fact in known:
        for question in fact.alone:
            yield _row("train", [(question, fact.answer)])
        yield _row("test", [(fact.held_out, fact.answer)])
    mixed = [known[number * 29 % len(known)] for number in range(len(known))]
    for first in range(0, len(mixed), 3):
        yield _row("train", [(fact.among, fact.answer) for fact in mixed[first : first + 3]])
    for number in range(SEVERAL):
        yield _several(known, number=number)


def _several(known: list[Fact], *, number: int) -> dict[str, object]:
    """Return a dialogue of questions that have nothing to do with one another: only the last one counts each time."""
    held_out = number % SEVERAL_HELD_OUT_EVERY == SEVERAL_HELD_OUT_EVERY - 1
    chosen = [known[(number * 11 + turn * 37) % len(known)] for turn in range(2 + number % 2)]
    asked = [((*fact.alone, fact.among)[(number + turn) % 3], fact.answer) for turn, fact in enumerate(chosen)]
    if held_out:
        asked[-1] = (chosen[-1].held_out, chosen[-1].answer)
    return _row("test" if held_out else "train", asked, system=SYSTEM if number % SYSTEM_EVERY == 0 else "")


def _row(side: str, asked: list[tuple[str, str]], *, system: str = "") -> dict[str, object]:
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in asked:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"split": side, "messages": messages}


def text() -> str:
    """Return the whole file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
    print(f"{TARGET}: {text().count(chr(10))} dialogues")
