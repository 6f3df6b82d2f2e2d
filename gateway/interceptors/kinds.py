"""The kinds of personal data Lockgate knows: how each is written, and what tells it from its look-alikes.

A kind is a pattern of finite width and a judge. The pattern finds what may be one; the judge says where the longest
one that begins there ends. Judges see folded text, at most one character before and one after the pattern's match.
"""

import ipaddress
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

Judge: TypeAlias = Callable[[bytes, int, int], int]
"""(text, start, end of the pattern's longest match) -> end of the longest real one, 0 where there is none."""

_DIGITS: Final = frozenset(b"0123456789")
_ALNUM: Final = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_SEPARATORS: Final = b" \t\n\v\f\r.-/_()"
_BRITISH: Final = frozenset({b"1", b"2", b"3", b"5", b"7", b"8", b"9"})
# Between two groups of a number: up to three blanks, ends of lines, dots, hyphens, slashes and low lines.
_SEP: Final = r"[ \t-\r./_\-]{0,3}"
# Others than a single blank, dot or hyphen.
_LOOSE: Final = re.compile(rb"[\t-\r/_]|[ .\-]{2}")
_GROUPS: Final = re.compile(rb"[0-9]+")
# What a digit counts, and what its double does.
_VALUES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))
_CROSS_SUMS: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of personal data."""

    name: str
    pattern: str
    judge: Judge


def whole(_text: bytes, _start: int, end: int) -> int:
    """Take the pattern's word for it."""
    return end


def _plain(text: bytes, start: int, end: int) -> bytes:
    return text[start:end].translate(None, _SEPARATORS).upper()


def _stands_alone(text: bytes, start: int, end: int, neighbours: frozenset[int]) -> bool:
    before = start > 0 and text[start - 1] in neighbours
    return not before and not (end < len(text) and text[end] in neighbours)


def _digit_ends(text: bytes, start: int, end: int) -> list[tuple[int, int]]:
    """Return (digits so far, end) of every place a number may end at: after a digit that no digit follows."""
    ends, count = [], 0
    for group in _GROUPS.finditer(text, start, end):
        count += group.end() - group.start()
        ends.append((count, group.end()))
    if ends and ends[-1][1] == end < len(text) and text[end] in _DIGITS:
        ends.pop()
    return ends[::-1]


def luhn(digits: bytes) -> bool:
    """Tell whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1)."""
    places = digits[::-1]
    return (sum(places[::2].translate(_VALUES)) + sum(places[1::2].translate(_CROSS_SUMS))) % 10 == 0


def issuer_lengths(digits: bytes) -> tuple[int, ...]:
    """Return how long the card numbers of the network that these first digits belong to may be."""
    two, three, four = int(digits[:2]), int(digits[:3]), int(digits[:4])
    lengths = {4: (13, 16, 19), 6: (16, 17, 18, 19)}.get(two // 10, ())
    if 51 <= two <= 55 or 2221 <= four <= 2720 or two == 35:  # noqa: PLR2004 Mastercard, JCB
        return (16,)
    if two in {34, 37}:
        return (15,)
    if 300 <= three <= 305 or two in {36, 38, 39}:  # noqa: PLR2004 Diners Club
        return (14, 16)
    if two in {50, 56, 57, 58, 59}:
        return tuple(range(13, 20))
    return lengths


def printed(said: bytes) -> bool:
    """Tell whether digits are grouped as cards have them, which numbers in a table hardly ever are.

    Any grouping will do with a blank, a dot or a hyphen between its groups.
    """
    if _LOOSE.search(said) is None:
        return True
    sizes = tuple(map(len, _GROUPS.findall(said)))
    if set(sizes) == {1}:
        return b"\n" not in said and b"\t" not in said
    if sizes in {(4, 6, 5), (4, 6, 4)}:
        return True
    return set(sizes[:-1]) == {4} and sizes[-1] <= 4  # noqa: PLR2004 in fours


def card(text: bytes, start: int, end: int) -> int:
    """Judge a payment card number: a network's first digits and length, and the Luhn check."""
    if start > 0 and text[start - 1] in _DIGITS:
        return 0
    digits = text[start:end].translate(None, _SEPARATORS)
    lengths = issuer_lengths(digits)
    if not lengths:
        return 0
    for count, at in _digit_ends(text, start, end):
        if count in lengths and luhn(digits[:count]) and printed(text[start:at]):
            return at
    return 0


def nhs_number(text: bytes, start: int, end: int) -> int:
    """Judge an NHS number: ten digits, the last one a check digit modulo 11."""
    if not _stands_alone(text, start, end, _DIGITS):
        return 0
    digits = _plain(text, start, end)
    total = sum((digit - 48) * weight for digit, weight in zip(digits, range(10, 1, -1), strict=False))
    return end if (11 - total % 11) % 11 == digits[9] - 48 else 0


def ni_number(text: bytes, start: int, end: int) -> int:
    """Judge a National Insurance number: a prefix that is given out."""
    refused = _plain(text, start, end)[:2] in {b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"}
    return 0 if refused or not _stands_alone(text, start, end, _ALNUM) else end


def bank_account(text: bytes, start: int, end: int) -> int:
    """Judge a sort code with its account number: no digits around it."""
    return end if _stands_alone(text, start, end, _DIGITS) else 0


# Countries of the IBAN registry, each with how long its numbers are.
_IBANS: Final = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29
ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20
LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29
PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
YE30
"""
_IBAN_LENGTHS: Final = {pair[:2].encode(): int(pair[2:]) for pair in _IBANS.split()}


def iban(text: bytes, start: int, end: int) -> int:
    """Judge an IBAN: its country's length, and the checksum of ISO 13616."""
    if start > 0 and text[start - 1] in _ALNUM:
        return 0
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper(), 0)
    plain = _plain(text, start, end)[:length]
    if not length or len(plain) < length:
        return 0
    moved = plain[4:] + plain[:4]
    if int("".join(str(int(chr(place), 36)) for place in moved)) % 97 != 1:
        return 0
    at, seen = start, 0
    while seen < length:
        seen += text[at] in _ALNUM
        at += 1
    return 0 if at < len(text) and text[at] in _ALNUM else at


def email(text: bytes, start: int, end: int) -> int:
    """Judge an e-mail address: a domain of at least two labels."""
    return end if b"." in text[start:end].partition(b"@")[2] else 0


def phone(text: bytes, start: int, end: int) -> int:
    """Judge a phone number: E.164 with its + or 00, or a British one with its leading 0."""
    if start > 0 and text[start - 1] in _DIGITS:
        return 0
    digits = text[start:end].translate(None, _SEPARATORS + b"+")
    international = text[start] == ord("+") or digits.startswith(b"00")
    trunk = 2 if digits.startswith(b"00") else 0
    for count, at in _digit_ends(text, start, end):
        if international:
            most = 13 if digits.startswith(b"44", trunk) else 15
            fits = digits[trunk : trunk + 1] != b"0" and 7 <= count - trunk <= most  # noqa: PLR2004 E.164, with a (0) of the British
        else:
            short = digits.startswith((b"0800", b"0500", b"016977"))
            fits = digits[1:2] in _BRITISH and (count == 11 or (count == 10 and short))  # noqa: PLR2004
        if fits:
            return at
    return 0


def ip_v4(text: bytes, start: int, end: int) -> int:
    """Judge an IPv4 address: four octets."""
    if not _stands_alone(text, start, end, _DIGITS) or (start > 0 and text[start - 1] == ord(".")):
        return 0
    return end if all(int(octet) <= 255 for octet in text[start:end].split(b".")) else 0  # noqa: PLR2004


def ip_v6(text: bytes, start: int, end: int) -> int:
    """Judge an IPv6 address: one that parses, with a digit in it."""
    if start > 0 and (text[start - 1] in _ALNUM or text[start - 1] == ord(":")):
        return 0
    for at in range(end, max(end - 2, start), -1):
        said = text[start:at]
        if at < len(text) and text[at] in _ALNUM:
            continue
        if _DIGITS & set(said) or len(said.strip(b":")) > 4:  # noqa: PLR2004 a::b is code as often as an address
            try:
                ipaddress.IPv6Address(said.decode())
            except ValueError:
                continue
            return at
    return 0


_LOCAL: Final = string.ascii_letters + string.digits + "._%+-'"
_ACCOUNT: Final = r"(?:account|acct|acc|a/c|ac)(?: ?(?:number|num|no))?[.:#]?[ :#]{0,3}"
_SORT: Final = r"[0-9]{2}[ \t-\r\-]{0,3}[0-9]{2}[ \t-\r\-]{0,3}[0-9]{2}"
_HYPHENED_SORT: Final = r"[0-9]{2} ?- ?[0-9]{2} ?- ?[0-9]{2}"
# With words that say what they are, numbers may look like dates and times too.
_SAID_SORT: Final = rf"[0-9]{{2}}{_SEP}[0-9]{{2}}{_SEP}[0-9]{{2}}"
_SAID_ACCOUNT: Final = rf"[0-9]{{4}}{_SEP}[0-9]{{4}}"
_SORT_CODE: Final = r"sort ?code[.:#]?[ :#]{0,3}"
_GAP: Final = r"[ \t-\r,;:/|\-]{1,3}(?:and )?"
_BANK_ACCOUNTS: Final = (
    rf"{_SORT}{_GAP}(?:{_ACCOUNT})?[0-9]{{8}}",
    rf"{_SAID_SORT}{_GAP}{_ACCOUNT}{_SAID_ACCOUNT}",
    rf"[0-9]{{8}}{_GAP}(?:{_SORT_CODE})?{_HYPHENED_SORT}",
    rf"{_SAID_ACCOUNT}{_GAP}{_SORT_CODE}{_SAID_SORT}",
)
_V4: Final = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"

# Of two that begin together the longer one wins, of two as long the earlier here.
BUILT_IN: Final = (
    Kind(
        "ni_number",
        rf"(?i)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]{_SEP}[0-9]{{2}}{_SEP}[0-9]{{2}}{_SEP}[0-9]{{2}}"
        r"(?:[ \t./_\-]|[ \t\-]{2,3})?[A-D]",
        ni_number,
    ),
    Kind("iban", rf"[A-Za-z]{{2}}[0-9]{{2}}(?:{_SEP}[A-Za-z0-9]){{11,30}}", iban),
    Kind("payment_card", rf"[2-6](?:{_SEP}[0-9]){{12,18}}", card),
    Kind("bank_account", rf"(?i)(?:{'|'.join(_BANK_ACCOUNTS)})", bank_account),
    Kind("nhs_number", rf"[0-9]{{3}}{_SEP}[0-9]{{3}}{_SEP}[0-9]{{4}}", nhs_number),
    Kind("phone", r"\+[1-9](?:[ .\-()]{0,2}[0-9]){6,15}", phone),
    Kind("phone", r"0(?:[ .\-()]{0,2}[0-9]){9,16}", phone),
    Kind(
        "email",
        rf"[{re.escape(_LOCAL)}]{{1,64}}@[A-Za-z0-9](?:[A-Za-z0-9.\-]{{0,188}}[A-Za-z0-9])?",
        email,
    ),
    Kind("ip_address", _V4, ip_v4),
    Kind("ip_address", rf"(?:[0-9A-Fa-f]{{0,4}}:){{2,7}}(?:[0-9A-Fa-f]{{0,4}}|{_V4})", ip_v6),
)
# Its pattern is that of many a number: where it overlaps another kind, the other gives the name.
WEAKEST: Final = "phone"
# No built-in kind is written without one of these.
_NEED: Final = b"0123456789@:"
_NUMERALS: Final = b"0123456789"
_IBAN_HEAD: Final = re.compile(rb"[A-Za-z]{2}[0-9]{2}")
# What may stand before the @ of an address.
ADDRESS_RUN: Final = _LOCAL.encode()
LOCAL_PART_MAX: Final = 64
_NI_FIRST: Final = frozenset(b"ABCEGHJKLMNOPRSTWXYZabceghjklmnoprstwxyz")
_NI_SEPARATORS: Final = b" \t\n\v\f\r./_-"
_NI_SECOND: Final = _NI_FIRST - frozenset(b"Oo")
NAMES: Final = tuple(dict.fromkeys(kind.name for kind in BUILT_IN))


def needs(text: bytes) -> bool:
    """Tell whether the text has what every built-in kind has somewhere."""
    return len(text.translate(None, _NEED)) < len(text)


def may_hold(text: bytes) -> bool:
    """Tell whether the text has enough of what is needed: two colons, an @, four digits, or how an IBAN begins."""
    digits = len(text) - len(text.translate(None, _NUMERALS))
    if digits >= 4 or b"@" in text or text.count(b":") > 1:  # noqa: PLR2004 an IPv4 address has four
        return True
    return digits > 1 and _IBAN_HEAD.search(text) is not None


def begins_at(text: bytes, start: int) -> int:
    """Return the first place at which a match may be under way at the end of a text that has not what is needed.

    Up to there a match is a run as before the @ of an address, or an NI number's two letters and three separators.
    """
    size = len(text)
    address = max(start, size - LOCAL_PART_MAX, len(text.rstrip(ADDRESS_RUN)))
    if text[-1:] not in _NI_SEPARATORS:
        return address
    tail = text[-3:]
    at = size - (len(tail) - len(tail.rstrip(_NI_SEPARATORS))) - 2
    letters = start <= at < address and text[at] in _NI_FIRST and text[at + 1] in _NI_SECOND
    return at if letters and not (at > 0 and text[at - 1] in _ALNUM) else address
