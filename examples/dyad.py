"""A team of one's own in one short class: a thinker drafts, a solver answers.

apportion sample --config dyad.toml
"""

from apportion.pipeline.teams.base import Conversation, Play


class Dyad:
    """The thinker sees the question; the solver sees the question and the thinker's draft."""

    name = "dyad"
    answerer = "player"  # the solver's answer is its own move, or it would never earn any credit

    def play(self, talk: Conversation) -> Play:
        """Two turns: one draft, one answer."""
        (draft,) = yield [talk.turn("thinker", [talk.question])]
        (final,) = yield [talk.turn("solver", [talk.question, draft.index])]
        talk.answer(final, final.text.removeprefix("answer:").strip())
