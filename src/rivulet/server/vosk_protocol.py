"""vosk-server's WebSocket protocol (`websocket/asr_server.py` of vosk-server).

A `config` is not answered; every other message is, with one result or partial result. What that
server ignores without a word (a `model`, a change of the rate in the middle) closes the connection.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rivulet.events import Event, Word
from rivulet.server.protocol import (
    MAX_ALTERNATIVES,
    Action,
    Close,
    Feed,
    Finish,
    Open,
    ProtocolError,
    Samples,
    Send,
    StreamSettings,
    parse_object,
    phrases_of,
    reason_of,
    sample_rate_of,
    whole_number,
)
from rivulet.vosk import GRAMMAR_BOOST, Replies, ReplyOptions, grammar_boosts

DEFAULT_SAMPLE_RATE = 8_000  # Hz where no config says it: vosk-server's


class VoskProtocol:
    """One connection of a vosk client."""

    def __init__(self, sample_rate: int = DEFAULT_SAMPLE_RATE) -> None:
        """Hear `sample_rate` Hz where the client does not say it; words are shown, as there."""
        self._settings = StreamSettings(sample_rate, formatted=False)  # vosk's text is bare words
        self._options = ReplyOptions(words=True)
        self._replies = Replies(self._options)
        self._samples = Samples()
        self._open = False
        self._fed = 0  # samples of the open stream
        self._ending = False

    def receive(self, message: str | bytes) -> list[Action]:
        """Take a config, `{"eof" : 1}`, `{"reset" : 1}` or int16 samples.

        Raises:
            ProtocolError: it is none of them.
        """
        if isinstance(message, bytes):
            samples = self._samples.push(message)
            self._fed += len(samples)
            return [*self._opening(), Feed(samples, self._options.partial_words)]
        command = parse_object(message)
        if "config" in command:
            self._configure(command["config"])
            return []
        if command.get("eof") or command.get("reset"):
            self._ending = bool(command.get("eof"))
            return [Finish()] if self._open else self.finished([])
        raise ProtocolError(
            "a text message has none of config, eof and reset; audio goes in binary messages."
        )

    def opened(self, key: str) -> list[Action]:
        """Say nothing: vosk's clients expect no greeting."""
        return []

    def heard(self, events: Sequence[Event], words: Sequence[Word]) -> list[Action]:
        """Answer one message of audio."""
        if self._replies.take(events):
            return [Send(self._replies.result())]
        return [Send(self._replies.partial(words))]

    def finished(self, events: Sequence[Event]) -> list[Action]:
        """Answer `eof` or `reset`; times go on after a reset."""
        reply = Send(self._replies.final_result(events))
        self._replies.offset_s += self._fed / self._settings.sample_rate
        self._fed = 0
        self._open = False
        self._samples = Samples()
        return [reply, Close()] if self._ending else [reply]

    def end(self) -> list[Action]:
        """Let the client have what was said so far."""
        self._ending = False
        return [Finish()] if self._open else []

    def failed(self, error: ProtocolError) -> list[Action]:
        """Close with a sentence; vosk has no message for errors."""
        return [Close(error.code, reason_of(str(error)))]

    def _opening(self) -> list[Action]:
        if self._open:
            return []
        self._open = True
        return [Open(self._settings)]

    def _configure(self, config: Any) -> None:
        if not isinstance(config, dict):
            raise ProtocolError("config is no object; send for example a sample_rate in one.")
        if "model" in config:
            raise ProtocolError("a client cannot choose the model; leave it out of config.")
        options, settings = self._options, self._settings
        if "words" in config:
            options.words = bool(config["words"])
        if "partial_words" in config:
            options.partial_words = bool(config["partial_words"])
        if "max_alternatives" in config:
            count = whole_number(
                "max_alternatives", config["max_alternatives"], 0, MAX_ALTERNATIVES
            )
            options.max_alternatives = count
            settings = replace(settings, alternatives=count)
        if "sample_rate" in config:
            settings = replace(settings, sample_rate=sample_rate_of(config["sample_rate"]))
        if config.get("phrase_list"):
            boosts = grammar_boosts(config["phrase_list"])
            settings = replace(settings, hot_words=phrases_of(boosts, GRAMMAR_BOOST))
        if self._open and settings != self._settings:
            raise ProtocolError(
                "sample_rate, phrase_list and max_alternatives cannot change while audio is heard; "
                "send reset first."
            )
        self._settings = settings
