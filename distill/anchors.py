"""Frozen prompts of general talk, the same in every release: what a base model can do beside an agent's work.

Two sets that share no prompt. `rehearse`: the base's own answers to them may be trained along with an agent's rows
(see `rehearsal`). `examine`: never trained; how far a student has moved from its base is measured on them. A changed
prompt would make figures of two versions incomparable, so none is ever changed: a test holds their digest.
"""

import hashlib
from typing import Literal

Use = Literal["examine", "rehearse"]

_EXAMINE = """
What is the capital of Australia?
Explain in two sentences why the sky is blue.
Write a short poem about a lighthouse.
List three uses of baking soda in the kitchen.
What is 17 times 6?
Translate into French: Good morning, how are you?
Summarise in one sentence: The river rose for three days, the old bridge gave way, and the village was cut off.
Write a Python function that returns the larger of two numbers.
Who wrote the play Romeo and Juliet?
Give me a synonym for quick.
How do plants make their food?
Write a polite e-mail that declines an invitation to dinner.
What is the difference between weather and climate?
Name the four largest planets of the solar system.
Correct the grammar: He go to school yesterday.
What should I pack for a weekend in the mountains?
Is a tomato a fruit or a vegetable? Why?
Put these numbers in order: 9, 2, 7, 4.
Tell me a fact about octopuses.
How many minutes are there in two and a half hours?
Describe the taste of a lemon to someone who has never had one.
What does the word ubiquitous mean?
Give three tips for learning a new language.
If all cats are animals and Tom is a cat, what is Tom?
"""

_REHEARSE = """
What is the capital of Canada?
Explain in two sentences how a rainbow comes about.
Write a short poem about the first snow.
List three ways to save water at home.
What is 24 divided by 4?
Translate into Spanish: Where is the station?
Summarise in one sentence: The shop opened late, the baker was ill, and by noon there was no bread left.
Write a Python function that counts the vowels in a text.
Who painted the Mona Lisa?
Give me an antonym for generous.
How do fish breathe?
Write a polite e-mail that asks a neighbour to water the plants.
What is the difference between a comet and an asteroid?
Name the seven continents.
Correct the grammar: She have two brother.
What should I look at when I buy a used bicycle?
Is a whale a fish? Why not?
Put these words in alphabetical order: pear, apple, fig, date.
Tell me a fact about honey bees.
How many days are there in six weeks?
Describe the sound of rain on a tin roof.
What does the word frugal mean?
Give three tips for a good night's sleep.
If it rains the street is wet. It rains. Is the street wet?
What is photosynthesis?
Explain to a child what a magnet does.
Write a title for a story about a lost dog.
What is the past tense of the verb to run?
Give an example of a renewable source of energy.
How do I boil an egg?
What is the opposite direction of north?
Write one sentence that uses the word horizon.
What are the primary colours?
Explain what a thermometer measures.
Name two animals that sleep through the winter.
Why do we see the moon change its shape?
Turn this into a question: The train leaves at nine.
What is the square root of 81?
Suggest a name for a small café by the sea.
What is a haiku?
How does a bicycle stay upright?
Give three adjectives for a storm.
What do you call a baby horse?
Write a short thank-you note to a teacher.
What is the freezing point of water in degrees Celsius?
List the ingredients of a simple pancake.
Why is it good to read every day?
What comes next: 2, 4, 8, 16?
"""


def anchors(use: Use = "examine") -> tuple[str, ...]:
    """The prompts of one set, in their order: each is what a user says first."""
    return tuple((_EXAMINE if use == "examine" else _REHEARSE).strip().splitlines())


def digest(use: Use = "examine") -> str:
    """First 12 hex digits of the SHA-256 over a set: stands beside every figure that was measured on it."""
    return hashlib.sha256("\n".join(anchors(use)).encode()).hexdigest()[:12]
