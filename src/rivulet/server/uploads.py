"""`POST /v1/audio/transcriptions`: a file arrives, is decoded block by block, and answered."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy.typing as npt
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from rivulet.audio import SAMPLE_RATE, AudioFile
from rivulet.errors import AudioError, RivuletError
from rivulet.events import Event, Final
from rivulet.server.connection import ABORT
from rivulet.server.protocol import StreamSettings, phrases_of
from rivulet.server.streams import Streams
from rivulet.server.transcription import (
    MEDIA_TYPES,
    Deltas,
    RequestError,
    error_body,
    render,
    wishes_of,
)
from rivulet.vosk import GRAMMAR_BOOST

MAX_FIELDS = 300
FIELD_BYTES = 10_000  # of one text field
FORM_BYTES = 1 << 20  # of a form besides its file


class Upload:
    """What FFmpeg needs of an uploaded file; a temporary file says that it can be written, too."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Read `file`; `name` is what the client calls it."""
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.name = name

    def seekable(self) -> bool:
        """Answer that FFmpeg may go back."""
        return True


class Recognition:
    """One file on its way through a stream."""

    def __init__(self, streams: Streams, form: FormData) -> None:
        """Take the file and the wishes out of a form.

        Raises:
            RequestError: there is no file, or a wish cannot be granted.
        """
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise RequestError("the form has no file; send one in the field file.", param="file")
        texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        self.wishes = wishes_of(texts, GRAMMAR_BOOST)
        self.seconds = 0.0
        self._streams = streams
        self._form = form
        self._file = Upload(upload.file, Path(upload.filename or "the file").name[:100])
        self._audio: AudioFile | None = None

    async def open(self) -> None:
        """Begin to decode.

        Raises:
            AudioError: it is no sound file.
            RivuletError: the hot words cannot be used.
        """
        try:
            self._audio = await self._later(lambda: AudioFile(cast(BinaryIO, self._file)))
        except AudioError as error:  # which takes every file without a path for standard input
            raise AudioError(str(error).replace("standard input", self._file.name, 1)) from error
        self._audio.name = self._file.name
        await self._later(self._begin)

    async def events(self, gone: Callable[[], Awaitable[bool]]) -> AsyncIterator[Event]:
        """Yield the file's events, until the client is `gone`.

        Raises:
            AudioError: the file is damaged; what could be decoded was yielded.
            RequestError: it is too long.
        """
        damage: AudioError | None = None
        blocks = iter(self._audio or ())
        while not await gone():
            try:
                samples = await self._later(lambda: next(blocks, None))
            except AudioError as error:
                damage, samples = error, None
            if samples is None:
                break
            self._count(len(samples))
            for event in await self._hear(samples):
                yield event
        for event in await self._hear(None):
            yield event
        if damage:
            raise damage

    @property
    def warnings(self) -> list[str]:
        """What was not as it should be with the file, in sentences."""
        return self._audio.warnings if self._audio else []

    async def close(self) -> None:
        """Let go of the file."""
        if self._audio:
            self._audio.close()
        await self._form.close()

    async def _later(self, job: Callable[[], Any]) -> Any:
        return await self._streams.advancer.call(job, live=False)

    async def _hear(self, samples: npt.NDArray[Any] | None) -> list[Event]:
        """Hear samples, or the end; whoever speaks now comes first."""
        advancer = self._streams.advancer
        return await advancer.accept(self._signal, samples, lambda: False)

    def _begin(self) -> None:
        hot_words = phrases_of(self.wishes.hot_words, GRAMMAR_BOOST)
        rate = self._audio.sample_rate if self._audio else SAMPLE_RATE
        self._signal = self._streams.signal(StreamSettings(rate, hot_words))

    def _count(self, samples: int) -> None:
        assert self._audio
        seconds = samples / self._audio.sample_rate
        self.seconds += seconds
        self._streams.advancer.count_audio(seconds)
        if self.seconds > self._streams.limits.length_s:
            raise RequestError(
                f"a file of more than {self._streams.limits.length_s:.0f} s is not taken; cut it.",
                413,
                "file",
            )


class EventResponse(StreamingResponse):
    """A streamed answer that cleans up however it ends, even if it never began."""

    def __init__(
        self, lines: AsyncIterator[str], media_type: str, done: Callable[[], Any], send_s: float
    ) -> None:
        """Call `done` at the end; a client may take `send_s` to read a line."""
        super().__init__(lines, media_type=media_type, headers={"Cache-Control": "no-store"})
        self._done = done
        self._send_s = send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, self._limited(send, scope))
        finally:
            self._done()

    def _limited(self, send: Send, scope: Scope) -> Send:
        """Return `send` for clients that may not read."""

        async def limited(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), self._send_s)
            except asyncio.TimeoutError as error:
                if abort := scope.get("extensions", {}).get(ABORT):
                    abort()
                raise OSError("the client does not read") from error

        return limited


class Uploads:
    """Files over HTTP, so many at once."""

    def __init__(self, streams: Streams) -> None:
        """Compute where the live streams compute, after them."""
        self._streams = streams
        self._limits = streams.limits
        self._siblings = streams.siblings
        self._running = 0

    async def transcribe(self, request: Request) -> Response:
        """Answer a request, or say in OpenAI's words why not."""
        running = self._siblings.total("uploads")
        if running >= self._limits.uploads:
            self._streams.metrics.refused.labels("uploads").inc()
            return failure(
                RequestError(f"{running} files are being transcribed; try again later.", 503)
            )
        self._count(1)
        answer: Response | None = None
        try:
            answer = await self._answer(request)
        except RivuletError as error:
            return failure(error)
        except HTTPException as error:  # Starlette's, of a form that is none
            return failure(RequestError(str(error.detail), error.status_code))
        finally:
            if not isinstance(answer, EventResponse):
                self._release()
        return answer

    async def _answer(self, request: Request) -> Response:
        form = await self._form(request)
        try:
            recognition = Recognition(self._streams, form)
            await recognition.open()
        except BaseException:
            await form.close()
            raise
        if recognition.wishes.stream or recognition.wishes.response_format == "jsonl":
            deltas = Deltas(recognition.wishes)
            lines = _lines(recognition, deltas)
            return EventResponse(lines, deltas.media_type, self._release, self._limits.send_s)
        return await self._whole(recognition, request.is_disconnected)

    async def _whole(
        self, recognition: Recognition, gone: Callable[[], Awaitable[bool]]
    ) -> Response:
        finals: list[Final] = []
        try:
            async for event in recognition.events(gone):
                finals += [event] if isinstance(event, Final) else []
        except AudioError as error:
            return failure(error, " ".join(final.display for final in finals))
        finally:
            await recognition.close()
        body = render(recognition.wishes, finals, recognition.seconds, recognition.warnings)
        return Response(body, media_type=MEDIA_TYPES[recognition.wishes.response_format])

    async def _form(self, request: Request) -> FormData:
        """Return the form; its file lies in memory, or in a nameless file if it is large."""
        content_type = request.headers.get("content-type", "")
        if not content_type.startswith("multipart/form-data"):
            raise RequestError("the request is no multipart/form-data; send a form with a file.")
        declared = request.headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._limits.upload_bytes + FORM_BYTES:
            raise self._too_large()
        limited = Request(request.scope, self._limited(request.receive))
        return await limited.form(max_files=1, max_fields=MAX_FIELDS, max_part_size=FIELD_BYTES)

    def _limited(self, receive: Receive) -> Receive:
        """Return `receive` with a limit of bytes, and of seconds between them."""
        left = self._limits.upload_bytes + FORM_BYTES
        deadline = time.monotonic() + self._limits.upload_s

        async def limited() -> Message:
            nonlocal left
            wait_s = min(self._limits.idle_s, deadline - time.monotonic())
            try:
                message = await asyncio.wait_for(receive(), wait_s)
            except asyncio.TimeoutError as error:
                raise RequestError(
                    f"the file stood still for {self._limits.idle_s:.0f} s, or took more than "
                    f"{self._limits.upload_s:.0f} s; send it again.",
                    408,
                ) from error
            left -= len(message.get("body", b""))
            if left < 0:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RequestError:
        megabytes = self._limits.upload_bytes / 1e6
        return RequestError(
            f"the file is larger than {megabytes:.0f} MB; send it in parts, or compressed.",
            413,
            "file",
        )

    def _release(self) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        self._running += change
        self._siblings.tell("uploads", self._running)


async def limited_body(request: Request, limit: int) -> bytes:
    """Return a request's body.

    Raises:
        RequestError: it has more than `limit` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise RequestError(f"a body of more than {limit / 1e6:.0f} MB is not taken.", 413)
    return bytes(body)


async def _lines(recognition: Recognition, deltas: Deltas) -> AsyncIterator[str]:
    try:
        async for event in recognition.events(_never):
            if line := deltas.push(event):
                yield line
        yield deltas.close(recognition.seconds, recognition.warnings)
    except RivuletError as error:
        yield deltas.fail(error)
    finally:
        await recognition.close()


async def _never() -> bool:
    """Return that the client is there: a streamed answer is canceled when it goes."""
    return False


def failure(error: RivuletError, transcribed: str = "") -> JSONResponse:
    """Return an error as OpenAI's clients read it, with what was transcribed before it."""
    status = error.status if isinstance(error, RequestError) else 400
    no_sound = "file" if isinstance(error, AudioError) else None
    param = error.param if isinstance(error, RequestError) else no_sound
    body = error_body(str(error), status, param)
    return JSONResponse({**body, "text": transcribed} if transcribed else body, status)
