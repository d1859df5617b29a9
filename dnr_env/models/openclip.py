"""Models of open_clip by name, hub id or folder: their configuration, weights and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dnr_env.errors import DnRError, unknown
from dnr_env.extras import needed
from dnr_env.files import file_digest
from dnr_env.models.hub import Source, find, loading
from dnr_env.models.snapshot import OPEN_CLIP, TOKENIZER, OneOf, Selection, folder_of, unweighted

if TYPE_CHECKING:
    import torch

_CONFIG = "open_clip_config.json"
_PICKLED = "open_clip_pytorch_model.bin"
"""The weights of a tag that names no file. They are read as tensors only."""
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.txt", "vocab.json")


class OpenClip:
    """A model of open_clip, of which nothing is loaded before it is needed.

    Args:
        option: the option that names the model, for error messages.
        model: a model name of open_clip such as "ViT-B-16"; or "hf-hub:organisation/name", optionally with "@revision";
            or a folder with `open_clip_config.json` and safetensors.
        pretrained: the tag of the weights, or a file with weights, if the model is a name.
    """

    def __init__(self, option: str, model: str, pretrained: str | None = None) -> None:
        self.option = option
        self.model = model
        self.pretrained = pretrained
        self._elsewhere = model.startswith(("hf-hub:", "local-dir:")) or Path(model).is_dir()

    @cached_property
    def _tag(self) -> dict[str, Any]:
        """The configuration of the tag in open_clip. It is empty for a file, and if there is no tag."""
        with needed():
            import open_clip
            from open_clip import pretrained
        if self.model not in open_clip.list_models():
            raise unknown(self.option, self.model, open_clip.list_models())
        if self.pretrained is None or Path(self.pretrained).is_file():
            return {}
        tags = open_clip.list_pretrained_tags_by_model(self.model)
        config: dict[str, Any] = pretrained.get_pretrained_cfg(self.model, self.pretrained)
        if not config:
            raise unknown(self.option, f"{self.model}/{self.pretrained}", [f"{self.model}/{tag}" for tag in tags])
        return config

    @cached_property
    def _source(self) -> Source | None:
        """The folder or hub repository of the weights, or None for a file, an address, or no weights."""
        if self._elsewhere:
            name, _, revision = self.model.removeprefix("hf-hub:").partition("@")
            if self.model.startswith("hf-hub:"):
                return find(self.option, name, revision or None, self.model)
            folder = Path(self.model.removeprefix("local-dir:"))
            if not (folder / _CONFIG).is_file():
                raise DnRError(
                    f"`{self.option}` must be a folder in open_clip's layout (got {self.model!r}, which has no "
                    f"{_CONFIG})"
                )
            return find(self.option, str(folder))
        repository = self._tag.get("hf_hub", "").rpartition("/")[0]
        return find(self.option, repository, None, f"{self.model}/{self.pretrained}") if repository else None

    @property
    def files(self) -> tuple[Source, Selection] | None:
        """Where the weights are and which files loading reads. None for a file, an address, or no weights."""
        if self._source is None:
            return None
        return self._source, OPEN_CLIP if self._elsewhere else self._weights

    @property
    def _weights(self) -> OneOf:
        """The file of a tag: safetensors where the repository has them."""
        file = self._tag["hf_hub"].rpartition("/")[2] or _PICKLED
        safe = "open_clip_model" if file == _PICKLED else file.rpartition(".")[0]
        return OneOf((f"{safe}.safetensors", file))

    @cached_property
    def fingerprint(self) -> str:
        """Identifies the content without loading it.

        Raises:
            DnRError: the model does not exist, or its commit is unknown and the hub cannot be reached.
        """
        if self._elsewhere:
            return f"open_clip {self._source.fingerprint}" if self._source else ""
        if self._source:
            return f"open_clip {self.model}/{self.pretrained} {self._source.fingerprint}"
        if self.pretrained and not self._tag:
            return f"open_clip {self.model} file@{file_digest(Path(self.pretrained)).hex()[:32]}"
        return f"open_clip {self.model}/{self.pretrained}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's configuration, without its weights."""
        with needed():
            import open_clip
        if not self._elsewhere:
            self._tag  # noqa: B018 - raises for an unknown name
            known: dict[str, Any] = open_clip.get_model_config(self.model)
            return known
        with loading(self.option, self.model):
            file = self._folder(weights=False) / _CONFIG
            read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
        return read

    def build(self, weights: bool = True) -> torch.nn.Module:
        """Build the model on the CPU in float32. Its weights are random if `weights` is false.

        Raises:
            DnRError: the model does not exist, or has no weights that can be loaded.
        """
        with needed():
            import open_clip
            from open_clip import pretrained
        with needed(), loading(self.option, self.model):
            fixed = {"precision": "fp32", "weights_only": True, "pretrained_text": False}
            if self._elsewhere:
                folder = self._folder(weights)
                if weights and not any(folder.glob("*.safetensors")):
                    raise DnRError(f"`{self.option}` must have safetensors (got {self.model!r}, which has none)")
                name = f"local-dir:{folder}"
                model = open_clip.create_model(name, load_weights=weights, require_pretrained=weights, **fixed)
            else:
                tag, file = self._tag, self.pretrained
                if weights and file is None:
                    tags = open_clip.list_pretrained_tags_by_model(self.model)
                    raise DnRError(
                        f"`{self.option}` {self.model!r} needs a tag of weights, which must be one of {', '.join(tags)}"
                    )
                if weights and tag and self._source:
                    file = str(self._weights.path(folder_of(self._source, self._weights)))
                elif weights and tag:
                    file = pretrained.download_pretrained(tag)
                # For a file, open_clip does not apply the activation function and preprocessing of the tag.
                model = open_clip.create_model(
                    self.model,
                    str(file) if weights else None,
                    force_quick_gelu=tag.get("quick_gelu", False),
                    force_preprocess_cfg={key: value for key, value in tag.items() if key != "size"},
                    **fixed,
                )
        built: torch.nn.Module = model.eval().requires_grad_(False)
        return built

    def tokenizer(self) -> Callable[[list[str]], torch.Tensor]:
        """Return a function that maps n texts to tokens (n, length)."""
        import open_clip

        name = self.model
        with needed(), loading(self.option, self.model):
            borrowed = self.config["text_cfg"].get("hf_tokenizer_name")
            if self._elsewhere:
                folder = self._folder(weights=False)
                name = f"local-dir:{folder}"
                own = any((folder / file).is_file() for file in _TOKENIZERS)
                # A repository can refer to another one's tokenizer. A folder cannot, as open_clip reads it.
                borrowed = borrowed if self.model.startswith("hf-hub:") and not own else None
            if borrowed:
                text = self.config["text_cfg"]
                source = find(self.option, borrowed, None, self.model)
                made: Callable[[list[str]], torch.Tensor] = open_clip.tokenizer.HFTokenizer(
                    str(folder_of(source, TOKENIZER)),
                    context_length=text.get("context_length", 77),
                    tokenizer_mode=text.get("tokenizer_mode"),
                    **text.get("tokenizer_kwargs", {}),
                )
            else:
                made = open_clip.get_tokenizer(name)
        return made

    def _folder(self, weights: bool) -> Path:
        if self._source is None:
            return Path(self.model)
        return folder_of(self._source, OPEN_CLIP if weights else unweighted(OPEN_CLIP))
