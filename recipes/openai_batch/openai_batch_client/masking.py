"""Mask an API key in whatever a service sends back, however it is written there."""

import logging
import os
import re
from base64 import b64encode, urlsafe_b64encode
from functools import lru_cache

SHORTEST = 8  # characters; a shorter key is a placeholder for services without keys
MASK = "***"
PARTS = ["connection", "http11", "http2", "proxy", "socks"]
LOGGERS = ["httpx2", *(f"httpcore2.{part}" for part in PARTS)]
# What stands before the hex digits of a character, such as %. Repetitions are bounded,
# or a reply full of backslashes would take minutes.
PREFIX = r"\\{1,8}u00|\\{1,8}x|%(?:25){0,3}|=|&\#x0{0,6}"
ESCAPED = re.compile(
    rf"(?:{PREFIX})(?P<hex>[0-9a-f]{{2}});?"
    r"|&\#0{0,6}(?P<decimal>\d{2,3});|\\{1,8}(?P<plain>.)",
    re.IGNORECASE,
)
UNFINISHED = re.compile(
    r"(?:\\{1,8}(?:u0{0,2}|x)?[0-9a-f]?|%(?:25){0,3}2?[0-9a-f]?|=[0-9a-f]?"
    r"|&(?:\#x?[0-9a-f]{0,8})?)\Z",
    re.IGNORECASE,
)


class KeyMask:
    """Replace one key by *** wherever a text holds it."""

    def __init__(self, key: str) -> None:
        self.enabled = len(key) >= SHORTEST
        self.encoded = base64_forms(key)
        forms = [key, key.encode().hex(), *self.encoded]
        self.forms = [form.casefold() for form in forms]
        self.escaped = re.compile(escaped_pattern(key), re.IGNORECASE)

    def mask(self, text: str) -> str:
        """Return the text without the key."""
        if not self.enabled:
            return text
        for form in self.encoded:
            text = text.replace(form, MASK)
        return self.escaped.sub(MASK, text)

    def mask_body(self, body: bytes) -> str:
        """Return the body of a reply as text without the key.

        JSON is UTF-8. Without its zero bytes, ASCII in UTF-16 or UTF-32 is readable
        too; what another charset or compression left unreadable is replaced.
        """
        return self.mask(body.replace(b"\0", b"").decode("utf-8-sig", "replace"))

    def may_continue(self, text: str) -> bool:
        """Return whether the text ends in what may be the beginning of the key."""
        if not self.enabled:
            return False
        if UNFINISHED.search(text[-20:]):
            return True
        plain = ESCAPED.sub(unescape, text).casefold()
        for form in self.forms:
            for length in range(1, len(form)):
                if plain.endswith(form[:length]):
                    return True
        return False


@lru_cache(maxsize=4)
def key_mask(key: str) -> KeyMask:
    """Return the mask of a key; to compile its pattern takes longer than a call."""
    return KeyMask(key)


def unescape(match: re.Match[str]) -> str:
    """Return the character that an escape stands for."""
    if match["plain"]:
        return match["plain"]
    return chr(int(match["hex"], 16) if match["hex"] else int(match["decimal"]))


def escaped_pattern(key: str) -> str:
    r"""Return a pattern of the key with each character plain, escaped or as hex digits.

    For "s" these are s, \s, \u0073, \x73, %73, %2573, =73, 73, &#115; and &#x73;.
    """
    characters = []
    for character in key:
        plain = re.escape(character)
        code = ord(character)
        escaped = rf"(?:{PREFIX})?{code:02x};?|&\#0{{0,6}}{code};"
        characters.append(rf"(?:\\{{0,8}}{plain}|{escaped})")
    first = f"{ord(key[0]):x}"[0] if key else ""
    begins = rf"(?=[\\%=&{first}{re.escape(key[:1])}])"  # fails fast on other text
    return begins + "".join(characters)


def base64_forms(key: str) -> list[str]:
    """Return what stands in Base64 of any text that holds the key.

    Base64 turns three bytes into four characters, so the key has three forms, by the
    place at which it begins. Basic authentication sends "user:key" in Base64; UTF-7
    is Base64 of UTF-16.
    """
    forms = set()
    for charset in ("utf-8", "utf-16-le", "utf-16-be"):
        data = key.encode(charset)
        for start in range(3):
            length = (len(data) - start) // 3 * 3
            whole = data[start : start + length]
            forms.add(b64encode(whole).decode())
            forms.add(urlsafe_b64encode(whole).decode())
    return sorted(forms)


def mask_record(record: logging.LogRecord) -> bool:
    """Mask the environment's key in a log record, and let the record pass."""
    mask = key_mask(os.environ.get("OPENAI_API_KEY", ""))
    record.msg = mask.mask(record.getMessage())
    record.args = None
    return True


# At the level DEBUG the HTTP client logs a reply's headers as they came in.
for logger in LOGGERS:
    logging.getLogger(logger).addFilter(mask_record)
