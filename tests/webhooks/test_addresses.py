"""No address of a special-purpose registry is one webhooks are sent to, in either family and in any disguise."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.addresses import is_public

# IANA's special-purpose registries for IPv4 and IPv6, the multicast and reserved space, what clouds put beside them,
# and ranges that carry an IPv4 address in an IPv6 one.
SPECIAL = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "169.254.169.254/32",
    "169.254.170.2/32",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.8/32",
    "192.0.0.170/31",
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
    "239.255.255.250/32",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "::/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fd00:ec2::254/128",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "ff02::1/128",
    "8000::/1",
]
PUBLIC = ["1.1.1.1", "93.184.216.34", "11.0.0.1", "172.15.255.255", "172.32.0.1", "100.128.0.1", "192.0.1.1"]
PUBLIC += ["198.20.0.1", "223.255.255.255", "168.63.129.15", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"]
PUBLIC += ["2001:200::1", "2001:4860:4860::8888", "2003::1", "2620:4f:8001::1", "3ffe::1", "2a05:d018::1"]


@pytest.mark.parametrize("text", SPECIAL)
def test_a_special_range_is_refused_from_its_first_to_its_last_address(text: str) -> None:
    network = ip_network(text)
    for address in (network[0], network[-1], network[network.num_addresses // 2]):
        assert not is_public(str(address))


@pytest.mark.parametrize("text", PUBLIC)
def test_what_lies_beside_the_special_ranges_is_public(text: str) -> None:
    assert is_public(text)


@pytest.mark.parametrize("text", [text for text in SPECIAL if isinstance(ip_network(text), IPv4Network)])
def test_an_ipv4_address_is_refused_in_every_ipv6_it_hides_in(text: str) -> None:
    inner = int(ip_network(text)[0])
    for disguise in (
        IPv6Address((0xFFFF << 32) | inner),
        IPv6Address(inner),
        IPv6Address((0x64FF9B << 96) | inner),
        IPv6Address((0x2002 << 112) | (inner << 80)),
        IPv6Address((0x20010000 << 96) | (inner ^ 0xFFFFFFFF)),
        IPv6Address((0xFFFF << 48) | inner),
    ):
        assert not is_public(str(disguise))


def test_a_mapped_public_address_is_as_public_as_itself() -> None:
    assert is_public("::ffff:93.184.216.34")


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "1.1.1.1:80", "[::1]", "1.1.1", "1.1.1.1 "],
)
def test_what_is_no_address_in_its_usual_form_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2606:4700:4700::1111%1"])
def test_an_address_with_a_zone_is_not_public(text: str) -> None:
    assert not is_public(text)


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_what_is_public_lies_in_no_special_range(address: IPv4Address | IPv6Address) -> None:
    special = any(address in network for text in SPECIAL if (network := ip_network(text)).version == address.version)
    if is_public(str(address)):
        assert not special
        assert address.is_global or ip_address(int(address)).version == 6
