"""Which addresses webhooks may be sent to: those of the public internet, by a list of our own.

Python's `is_global` calls many special addresses global, so the ranges are the IANA special-purpose registries',
spelled out. IPv6 is closed but for 2000::/3: that leaves out every way to write an IPv4 address as an IPv6 one
(mapped ones are unwrapped and judged as what they are).
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

DENIED_V4: Final = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
ALLOWED_V6: Final = ip_network("2000::/3")
DENIED_V6: Final = tuple(
    ip_network(text)
    for text in (
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


def is_public(text: str) -> bool:
    """Tell whether an IP address in its usual form, with or without a zone, is one webhooks may be sent to."""
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return not any(address in network for network in DENIED_V4)
    if address.scope_id is not None:
        return False
    return address in ALLOWED_V6 and not any(address in network for network in DENIED_V6)
