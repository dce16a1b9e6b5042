"""Text that was damaged on its way here: control characters, wrong decoding, remains of HTML."""

import re

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff]")
_UNDECODED = re.compile("[\x80-\x84\x86-\x9f\ufffd]")
"""What stands for undecodable bytes, and the control characters that Windows' quotes become when read as Latin-1."""
_WINDOWS = "€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"  # noqa: RUF001 (what bytes 0x80 to 0x9f are in Windows-1252)
_SEQUENCE = re.compile(rf"[\u00c2-\u00f4][\u0080-\u00bf{_WINDOWS}]{{1,3}}")
_USUAL = "ÂÃ"
"""What most wrongly decoded texts show: one is enough; other letters before a sign may be meant (`CAFÉ»`)."""
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
_ABOUT = re.compile(r"(?i)\b(?:x?html5?|xml|css|jsx|svg|dom|markdown)\b")
_TAG = re.compile(
    r"(?i)</?(?:p|br|hr|b|i|u|em|strong|div|span|a|li|ul|ol|td|tr|th|table|tbody|h[1-6]|font|center|script|style|"
    r"blockquote|sup|sub)\s*/?>|<(?:a|div|span|p|img|td|tr|table|font|li|ul|h[1-6]|iframe|input|link|meta)"
    r"\s+[a-z-]+\s*=\s*[\"'][^<>]*>"
)
_ENTITY = re.compile(
    r"&(?:nbsp|amp|lt|gt|quot|apos|mdash|ndash|hellip|rsquo|lsquo|ldquo|rdquo|#\d{2,5}|#x[0-9a-fA-F]{2,5});"
)


def control(text: str) -> re.Match[str] | None:
    """Find a control character that is neither a line end nor a tab."""
    return None if text.isprintable() else _CONTROL.search(text)


def mojibake(text: str) -> re.Match[str] | None:
    """Find UTF-8 that was read as Windows-1252 or Latin-1, or a character that stands for undecodable bytes."""
    if text.isascii():
        return None
    lost = _UNDECODED.search(text)
    if lost:
        return lost
    found = [match for match in _SEQUENCE.finditer(text) if _wrong(match[0])]
    sure = [match for match in found if match[0][0] in _USUAL or len(match[0]) > 2]
    return sure[0] if sure else found[0] if len(found) > 2 else None


def _wrong(piece: str) -> bool:
    """Say whether characters are the bytes of another character."""
    try:
        raw = b"".join(c.encode("cp1252") if c in _WINDOWS else c.encode("latin-1") for c in piece)
        return len(raw[: _length(raw[0])].decode("utf-8")) == 1
    except UnicodeError:
        return False


def _length(lead: int) -> int:
    return 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


def html(text: str) -> re.Match[str] | None:
    """Find a tag or an entity outside code, in a text that is not about such."""
    if "<" not in text and "&" not in text:
        return None
    prose = _CODE.sub(" ", text)
    found = _TAG.search(prose) or _ENTITY.search(prose)
    return None if found is None or _ABOUT.search(prose) else found
