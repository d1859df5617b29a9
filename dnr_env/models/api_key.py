"""The key of a language model's endpoint: read when it is needed, kept nowhere, and removed from texts."""

from __future__ import annotations

import base64
import os
from urllib.parse import quote


def api_key() -> str:
    """Return the key in OPENAI_API_KEY, or an empty string."""
    return os.environ.get("OPENAI_API_KEY", "").strip()


def scrubbed(text: str) -> str:
    """Replace the key in a text, in each form in which a server may repeat it."""
    if key := api_key():
        encoded = base64.b64encode(key.encode()).decode().rstrip("=")
        for form in (key, encoded, quote(key), quote(key, safe="")):
            text = text.replace(form, "[key]")
    return text
