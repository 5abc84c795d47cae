"""From the name of a model to a folder: the bundled demo, a local folder, or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import ModelError
from ..events import Observer
from ..progress import Meter

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

    bytes_come = _Download(model, progress) if progress is not None else None
    bars = bytes_come.bars() if bytes_come is not None else None
    try:
        folder = Path(snapshot_download(model, revision=revision, allow_patterns=_PATTERNS, tqdm_class=bars))
        if bytes_come is not None:
            bytes_come.finish()
        return folder
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


class _Download:
    """Counts the bytes that the hub's client reports, from several threads at once."""

    def __init__(self, model: str, progress: Observer) -> None:
        self._model, self._meter, self._lock = model, Meter("download", progress), Lock()
        self._done = self._known = 0
        self._meter.bytes(model, 0, 0)

    def bars(self) -> type[Any]:
        """Return a class of bars that draw nothing and report here."""
        from tqdm import tqdm

        download = self

        class Bars(tqdm):  # type: ignore[type-arg]
            def __init__(self, *given: Any, **more: Any) -> None:
                more.pop("name", None)
                received = str(more.get("desc", "")).startswith("Downloading bytes")  # counted again when written
                self._counts = more.get("unit") == "B" and not received
                super().__init__(*given, **more | {"disable": True})

            def update(self, n: float | None = 1) -> None:
                if self._counts:
                    download.came(int(n or 0), int(self.total or 0))

        return Bars

    def came(self, nbytes: int, total: int) -> None:
        """Count bytes; `total` grows while the client asks for the files' sizes."""
        with self._lock:
            self._done += nbytes
            self._known = max(total, self._done)
            self._meter.bytes(self._model, self._done, self._known)

    def finish(self) -> None:
        """Say that all is there, unless it was before."""
        if self._done:
            self._meter.finish(self._model, self._done)


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind `error` or behind what caused it; None when nothing answered."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__ or error.__context__
    return None
