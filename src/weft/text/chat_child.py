"""Renders one chat template; weft.text.chat runs it as a program of its own. It imports nothing of Weft.

Standard input: a JSON object of path (where Jinja lies), template, variables, and three limits: seconds, characters, bytes.
Standard output: {"text": ...}, or {"error": what kind, "message": ...}.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any


def limit(seconds: float, memory: int) -> None:
    """The system ends this process where a limit is passed, whatever it is doing; on Windows only its parent does."""
    try:
        import resource
    except ImportError:
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody catches SIGALRM
    for kind, most in ((resource.RLIMIT_CPU, int(seconds) + 2), (resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):  # macOS knows no limit of address space
            continue


class Large(Exception):
    """The output is above its limit."""


def environment() -> tuple[Any, type[Exception]]:
    """What transformers renders chat templates with, and the error that raise_exception raises.

    transformers/utils/chat_template_utils.py: the same options, filters, globals and tags.
    """
    import jinja2
    from jinja2 import ext, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    if tuple(int(part) for part in jinja2.__version__.split(".")[:3] if part.isdigit()) < (3, 1, 6):
        raise ImportError(f"Jinja {jinja2.__version__} is there; older ones than 3.1.6 have known ways out of the sandbox")

    class Raised(jinja2.TemplateError):
        """By the template itself."""

    class Generation(ext.Extension):
        """{% generation %} marks what an assistant says, for training; in rendering it is a scope and no more."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller: Callable[[], str]) -> str:
            return caller()

    class Dictionary:
        """`dict`, without the attributes of a class."""

        def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict(*args, **kwargs)

        def fromkeys(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
            return dict.fromkeys(*args, **kwargs)

    class Namespace(jinja2.utils.Namespace):
        """`namespace`, without names that Python keeps for itself."""

        def __init__(*args: Any, **kwargs: Any) -> None:  # so that a template may set `self`
            values = dict(*args[1:], **kwargs)
            for name in values:
                check(name)
            jinja2.utils.Namespace.__init__(args[0], values)

        def __setitem__(self, name: str, value: Any) -> None:
            check(name)
            super().__setitem__(name, value)

    def check(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace may not have the attribute {name!r}")

    def tojson(value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
               sort_keys: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message: str) -> None:
        raise Raised(message)

    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals |= {"raise_exception": raise_exception, "strftime_now": lambda form: datetime.now().strftime(form),
                     "dict": Dictionary(), "namespace": Namespace}
    return made, Raised


def rendered(template: Any, variables: Mapping[str, Any], most: int) -> str:
    parts, length = [], 0
    for part in template.generate(**variables):
        parts.append(part)
        length += len(part)
        if length > most:
            raise Large
    return "".join(parts)


def answer(order: Mapping[str, Any]) -> dict[str, str]:
    """What goes to standard output."""
    sys.path[:] = order["path"]
    try:
        made, raised = environment()
        from jinja2 import TemplateSyntaxError
        from jinja2.exceptions import SecurityError
    except ImportError as error:
        return {"error": "install", "message": str(error)}
    limit(order["seconds"], order["bytes"])
    try:
        return {"text": rendered(made.from_string(order["template"]), order["variables"], order["characters"])}
    except raised as error:
        return {"error": "raised", "message": str(error)}
    except TemplateSyntaxError as error:
        return {"error": "syntax", "message": f"line {error.lineno}: {error.message}"}
    except SecurityError as error:
        return {"error": "security", "message": str(error)}
    except (Large, MemoryError):
        return {"error": "large", "message": ""}
    except Exception as error:  # a template may do anything with its variables
        return {"error": "failed", "message": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    found = json.dumps(answer(json.loads(sys.stdin.buffer.read())))
    sys.stdout.buffer.write(found.encode())
