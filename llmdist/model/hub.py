"""From the name of a model to a folder: the bundled demo, a local folder, or the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from ..errors import ModelError

__all__ = ["resolve"]

_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "*.txt", "*.jinja"]


def resolve(model: str, revision: str | None = None) -> Path:
    """Return the folder of `model`, downloading a hub name with progress bars; ModelError if it cannot be had."""
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
    return _download(model, revision)


def _download(model: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=_PATTERNS))
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


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind `error` or behind what caused it; None when nothing answered."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return int(status)
        error = error.__cause__ or error.__context__
    return None
