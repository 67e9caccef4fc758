"""Chat templates: messages to the text that a model reads. It knows no model; jinja2 is imported in a child process only.

A template comes with a checkpoint, so it is a stranger's program. Jinja's sandbox keeps it from Python's insides, but not
from endless work: one operation, such as 10 ** 10 ** 9, or loops in loops. No counter and no trace hook inside this process
ends a single long operation, and signals reach the main thread only; so each rendering is a child process, which the
system ends at the limit. It begins in a tenth of a second, has no environment variables and cannot write a file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weft.errors import TokenizerError, UsageError
from weft.spec.config import SpecialTokens
from weft.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import subprocess

TEMPLATE_BYTES = 1_000_000
CHARACTERS = 4_000_000
SECONDS = 2.0
MEMORY = 1 << 30
START_SECONDS = 30
"""Longest wait for a child that does not even begin, on a machine that is very busy."""
REASONING = ("reasoning_content", "thinking", "reasoning")
"""What a message's reasoning may be called; templates read the first two."""
_CHILD = Path(__file__).with_name("chat_child.py")


def render(template: str, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
           add_generation_prompt: bool = True, special: Mapping[str, str] | None = None, **variables: Any) -> str:
    """The text of a chat, as transformers' apply_chat_template renders it.

    messages: {"role": ..., "content": ...} each, and what else the template reads. special: role -> token, such as
    bos_token. Raises UsageError for messages that the template refuses (in its own words) or that hold more than JSON does,
    and TokenizerError for a template that is damaged, does what it may not, or passes a limit.
    """
    size = len(template.encode("utf-8", "surrogatepass"))
    if size > TEMPLATE_BYTES:
        raise TokenizerError(f"the chat template has {size:,} bytes; at most {TEMPLATE_BYTES:,} are rendered")
    values = {"documents": None, **(special or {}), **variables, "messages": prepared(messages),
              "tools": list(tools) if tools is not None else None, "add_generation_prompt": add_generation_prompt}
    return _said(_run(_order(template, values)))


def prepared(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages without keys that say nothing, their reasoning under each name it has. Raises UsageError."""
    if isinstance(messages, (str, Mapping)) or not messages:
        raise UsageError('a chat is a list of at least one message, such as [{"role": "user", "content": "Hello"}]')
    found = []
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping):
            raise UsageError(f"message {number} of the chat is {message!r:.60}; it must have the form "
                             '{"role": "user", "content": "Hello"}')
        given = {key: value for key, value in message.items() if value is not None}
        reasoning = next((given[key] for key in REASONING if key in given), None)
        found.append(given if reasoning is None else {"thinking": reasoning, **given, "reasoning_content": reasoning})
    return found


def special_texts(special: SpecialTokens, tokenizer: Tokenizer) -> dict[str, str]:
    """Role -> token, of those that a model has, as its templates and transformers name them."""
    roles = {"bos_token": special.bos, "eos_token": special.eos, "pad_token": special.pad, "unk_token": special.unk,
             "mask_token": special.mask}
    named = {role: tokenizer.tokens([token])[0] for role, token in roles.items() if token is not None}
    return {role: text for role, text in named.items() if text}  # an id that only the embedding has is no token


def _order(template: str, variables: Mapping[str, Any]) -> bytes:
    if find_spec("jinja2") is None:
        raise UsageError("chat templates need Jinja: pip install 'weft[chat]'")
    order = {"path": [os.path.abspath(place) for place in sys.path if place], "template": template, "variables": variables,
             "seconds": SECONDS, "characters": CHARACTERS, "bytes": MEMORY}
    try:
        return json.dumps(order).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"messages, tools and variables of a chat must be plain values, as JSON has them: {error}") from error


def _run(order: bytes) -> subprocess.CompletedProcess[bytes]:
    import subprocess  # here, for every start of the command would wait for it

    environment = {name: os.environ[name] for name in ("TZ", "SYSTEMROOT") if name in os.environ}
    try:
        return subprocess.run([sys.executable, "-I", "-S", str(_CHILD)], input=order, capture_output=True, check=False,
                              timeout=START_SECONDS + SECONDS, env=environment)
    except subprocess.TimeoutExpired as error:
        raise _too_slow() from error
    except OSError as error:
        raise TokenizerError(f"the chat template cannot be rendered: {sys.executable or 'Python'} does not start "
                             f"({error.strerror})") from error


def _too_slow() -> TokenizerError:
    return TokenizerError(f"the chat template was not rendered within {SECONDS:g} seconds, so it was stopped; it may never end")


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """The child's text. Raises what its answer says."""
    if done.returncode in (-14, -24):  # SIGALRM, SIGXCPU
        raise _too_slow()
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise TokenizerError(f"rendering the chat template failed (status {done.returncode}): {last[:200]}") from None
    if "text" in answer:
        return answer["text"]
    kind, message = answer["error"], answer["message"]
    if kind == "raised":
        raise UsageError(f"the chat template refuses these messages: {message}")
    if kind == "install":
        raise UsageError(f"chat templates need Jinja ({message}): pip install 'weft[chat]'")
    said = {"syntax": f"the chat template is no Jinja template: {message}",
            "security": f"the chat template does what it may not: {message}",
            "large": f"the chat template's text passes {CHARACTERS:,} characters, or its rendering {MEMORY >> 20:,} MiB"}
    raise TokenizerError(said.get(kind, f"the chat template cannot render these messages: {message}"))
