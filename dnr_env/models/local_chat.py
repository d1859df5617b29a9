"""A language model that runs on this machine, with weights from the Hugging Face hub or a folder."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

from dnr_env.evidence.store import Store
from dnr_env.extras import needed
from dnr_env.interfaces import Usage
from dnr_env.models.asker import Asker, CutShort, Question, Unusable, cut_short, spent
from dnr_env.models.device import device_of, dtype_of
from dnr_env.models.hub import check_complete, find, loading, running
from dnr_env.models.snapshot import LANGUAGE_MODEL, folder_of, unweighted
from dnr_env.models.thought import opens_thought, without_thought

_OPTION = "writer.model"


class LocalChat(Asker):
    """A causal language model of transformers. Weights are read from safetensors only, and no code comes with them.

    Questions are answered one by one, so that an answer does not depend on the others. Sample 0 is decoded greedily;
    the other samples are drawn with a seed that is a function of the question.

    Args:
        model: a hub id or a folder.
        revision: a commit, branch or tag of a hub id. The commit is part of the fingerprint.
        temperature: the sampling temperature of samples other than 0.
        max_tokens: the longest answer, in tokens.
        effort: how much a reasoning model thinks, as far as its chat template knows. None and "none" ask it not to.
        thinking_tokens: the tokens that it may think, in addition to `max_tokens`.
        device: "auto", or a device of torch.
        dtype: "auto", "float32", "float16" or "bfloat16".
        store: where answers are kept. None keeps them in memory only.

    Raises:
        DnRError: the model, the device or the dtype does not exist.
    """

    def __init__(
        self,
        model: str,
        *,
        revision: str | None = None,
        temperature: float = 0.3,
        max_tokens: int = 200,
        effort: str | None = None,
        thinking_tokens: int = 0,
        device: str = "auto",
        dtype: str = "auto",
        store: Store | None = None,
    ) -> None:
        self.source = find(_OPTION, model, revision, f"hf:{model}")
        self.device = device_of(device)
        self.dtype = dtype_of("writer.dtype", dtype, self.device)
        self.temperature = temperature
        self.effort = effort
        self._thinks = bool(thinking_tokens or (effort and effort != "none"))
        thought = f"|thinks, effort {effort}" if self._thinks else ""
        fingerprint = f"{self.source.fingerprint}|{self.dtype}|temperature {temperature:g}{thought}"
        super().__init__(fingerprint, max_tokens + thinking_tokens, store)

    def check(self) -> str:
        """Describe the model in one line. Its configuration is read, but not its weights.

        Raises:
            DnRError: the model does not exist, or transformers does not support it.
        """
        folder = folder_of(self.source, unweighted(LANGUAGE_MODEL))
        with needed(), loading(_OPTION, self.source.id):
            from transformers import AutoConfig

            config = AutoConfig.from_pretrained(folder)
        return f"{self.source.id} ({config.model_type}) on {self.device}"

    def load(self) -> None:
        """Load the model, which happens otherwise at the first question."""
        _ = self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The tokenizer and the model."""
        folder = folder_of(self.source, LANGUAGE_MODEL)
        with needed(), loading(_OPTION, self.source.id):
            from transformers import AutoModelForCausalLM, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(folder)
            safe = {"use_safetensors": True, "dtype": self.dtype, "output_loading_info": True}
            made: Any = AutoModelForCausalLM.from_pretrained(folder, **safe)
            model, report = made
            check_complete(self.source.setting, report)
            return tokenizer, model.to(self.device).eval()

    def _answer(self, questions: list[Question]) -> None:
        for question in questions:
            self._settle(question, self._reply)

    def _reply(self, question: Question, limit: int) -> tuple[str, Usage]:
        import torch
        from transformers import GenerationConfig

        tokenizer, model = self._loaded
        self.counters.add(made=1)
        prompt = self._prompt(tokenizer, question)
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=not tokenizer.chat_template)
        tokens = ids["input_ids"].to(self.device)
        room = getattr(model.config, "max_position_embeddings", None)
        if room and tokens.shape[1] + self.max_tokens > room:
            raise Unusable(
                f"a question of {tokens.shape[1]} tokens and an answer of {self.max_tokens} do not fit into the {room} "
                f"tokens of `{_OPTION}` {self.source.id!r}; lower `writer.max_tokens`, or name another model",
                Usage(),
                final=True,
            )
        limit = min(limit, room - tokens.shape[1]) if room else limit
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {tokenizer.eos_token_id}
        ends = sorted(end for end in ends if end is not None)
        sampled = question.sample != 0
        config = GenerationConfig(
            max_new_tokens=limit,
            do_sample=sampled,
            temperature=self.temperature if sampled else 1.0,
            eos_token_id=ends or None,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0],
        )
        # `generate` takes no generator, so the global one is seeded and then restored.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []), torch.inference_mode():
            torch.manual_seed(int.from_bytes(hashlib.sha256(repr(tuple(question)).encode()).digest()[:7], "big"))
            try:
                with running(self.source.setting):
                    output = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=config)
            except torch.OutOfMemoryError:
                raise Unusable(
                    f"`{_OPTION}` {self.source.id!r} leaves too little of the device's memory for a question; name a "
                    "smaller model",
                    Usage(),
                    final=True,
                ) from None
        new = output[0, tokens.shape[1] :].tolist()
        usage = Usage(1, tokens.shape[1], len(new))
        cut = len(new) >= limit and new[-1] not in ends
        while new and new[-1] in {*ends, tokenizer.pad_token_id}:
            new.pop()
        text = tokenizer.decode(new)  # with special tokens, because some models mark their thought with them
        if opens_thought(prompt):
            text = f"<think>{text}"
        thought = bool(text) and not without_thought(text)
        if cut:
            raise CutShort(spent(limit) if thought else cut_short(limit), usage, text)
        if thought:
            raise Unusable("the answer is a thought and nothing else", usage, text)
        return text, usage

    def _prompt(self, tokenizer: Any, question: Question) -> str:
        """Render the question as one user message, because some chat templates have no other role."""
        text = f"{question.system}\n\n{question.user}"
        if not tokenizer.chat_template:
            return f"{text}\n\nAnswer: "
        options: dict[str, Any] = {"enable_thinking": self._thinks}
        if self.effort:
            options["reasoning_effort"] = self.effort
        message = [{"role": "user", "content": text}]
        return str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True, **options))
