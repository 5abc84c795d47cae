"""From the name of a model to a folder: the bundled demo, a local folder, or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from ..errors import ModelError
from ..events import Observer
from ..progress import Meter
from ..units import format_amount

__all__ = ["resolve"]

_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "*.txt", "*.jinja"]


def resolve(model: str, revision: str | None = None, progress: Observer | None = None) -> Path:
    """Return the folder of `model`, downloading a hub name; ModelError if it cannot be had.

    `progress` is told of the download; without it the hub's own bars show.
    """
    if model == "demo":
        from ..demo import model_path

        return model_path()
    path = Path(model).expanduser()
    if model.strip() and path.exists():
        return path
    looks_local = model.startswith((".", "/", "~")) or "\\" in model or model.count("/") > 1 or not model.strip()
    if looks_local:
        raise ModelError(
            f"There is no folder {model!r}: "
            "give a model folder, a hub name such as Qwen/Qwen3-8B, or demo."
        )
    return _download(model, revision, progress)


def _download(model: str, revision: str | None, progress: Observer | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    take = partial(snapshot_download, model, revision=revision, allow_patterns=_PATTERNS)
    try:
        return Path(take()) if progress is None else _Download(model, _missing_bytes(take), progress).run(take)
    except GatedRepoError as error:
        raise ModelError(f"{model} needs a permission: accept its terms on the hub and set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{model} has no revision {revision!r} on the hub: check its name.") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"The hub has no model {model!r}, or it is private: check the name, or set HF_TOKEN."
        ) from error
    except HFValidationError as error:
        raise ModelError(f"{model!r} is neither a folder nor a hub name such as Qwen/Qwen3-8B.") from error
    except (LocalEntryNotFoundError, OSError) as error:
        status = _status(error)
        if status is not None:
            raise ModelError(f"The hub answered with status {status} for {model}: try again later.") from error
        raise ModelError(
            f"{model} is no local folder, and the hub cannot be reached: check the connection, or give a folder."
        ) from error


def _missing_bytes(take: Callable[..., Any]) -> int:
    """Return how many bytes `take` would download; 0 where the hub does not say."""
    with suppress(Exception):  # what is wrong, the download says as well; an older client has no dry run
        found = take(tqdm_class=_bars(lambda nbytes, total: None), dry_run=True)
        return sum(file.file_size for file in found if file.will_download)
    return 0


def _bars(came: Callable[[int, int], None]) -> type[Any]:
    """Return a class of bars that draw nothing and tell `came` of bytes, and of the total that the client knows."""
    from tqdm import tqdm

    class Bars(tqdm):  # type: ignore[type-arg]
        def __init__(self, *given: Any, **more: Any) -> None:
            more.pop("name", None)
            received = str(more.get("desc", "")).startswith("Downloading bytes")  # counted again when written
            self._counts = more.get("unit") == "B" and not received
            super().__init__(*given, **more | {"disable": True})

        def update(self, n: float | None = 1) -> None:
            if self._counts:
                came(int(n or 0), int(self.total or 0))

    return Bars


class _Stopped(Exception):
    """Ends the thread of a file that is no longer wanted."""


class _Download:
    """Counts the bytes that the hub's client reports, from several threads at once, and ends them when asked to."""

    def __init__(self, model: str, total: int, progress: Observer) -> None:
        self._model, self._meter, self._lock = model, Meter("download", progress), Lock()
        self._done, self._known, self._unwanted = 0, total, Event()
        self._meter.bytes(model, 0, total)

    def run(self, take: Callable[..., str]) -> Path:
        """Return the folder that `take` downloads; an interrupt ends it at once.

        The client waits for whole files when it is interrupted, so it runs in a thread that nobody waits for then: each
        file ends with its next bytes.
        """
        ended: Future[Path] = Future()

        def work() -> None:
            try:
                ended.set_result(Path(take(tqdm_class=_bars(self._came))))
            except BaseException as error:
                ended.set_exception(error)

        Thread(target=work, name="download", daemon=True).start()
        try:
            folder = ended.result()
        except KeyboardInterrupt:
            self._unwanted.set()
            raise ModelError(
                f"The download of {self._model} was stopped after {format_amount(self._done)} of "
                f"{format_amount(self._known)}; files that are whole are kept, and the next load takes the others."
            ) from None
        if self._done:  # else all was there before
            self._meter.finish(self._model, self._done)
        return folder

    def _came(self, nbytes: int, total: int) -> None:
        """Count bytes; `total` grows while the client asks for the files' sizes."""
        if self._unwanted.is_set():
            raise _Stopped
        with self._lock:
            self._done += nbytes
            self._known = max(self._known, total, self._done)
            self._meter.bytes(self._model, self._done, self._known)


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind `error` or behind what caused it; None when nothing answered."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__ or error.__context__
    return None
