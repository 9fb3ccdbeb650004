"""Takes secrets and control characters out of what is logged or told, whoever put them in."""

import re

_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@]*:)\S*(?=@)", re.IGNORECASE)
_PARAMETER = re.compile(
    r"""(?P<before>(?:password|passwd|pwd)\s*=\s*)(?:'[^']*'?|"[^"]*"?|[^\s&'"]+)""", re.IGNORECASE
)
_KEY = re.compile(r"(?P<before>abctl_[0-9a-f]{16}_)[0-9a-f]+", re.IGNORECASE)
_BEARER = re.compile(r"(?P<before>bearer\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def masked(text: str) -> str:
    """The text with `***` for passwords in URLs and for the secret part of API keys."""
    for secret in (_PASSWORD, _PARAMETER, _KEY, _BEARER):
        text = secret.sub(r"\g<before>***", text)
    return text


def one_line(text: str) -> str:
    """The text with escapes for what could end a line, or write over one: nobody forges a line of a log."""
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)
