import socket
from dataclasses import asdict

import pytest

from ops.devstack.ports import Ports, PortTakenError


def test_the_documented_ports_are_the_contracts() -> None:
    assert asdict(Ports.documented()) == {
        "gateway": 8080,
        "private": 8081,
        "worker_private": 8082,
        "runtime": 8090,
        "runtime_control": 8091,
        "issuer": 8092,
        "receiver": 8093,
        "tools": 8094,
        "store": 8095,
        "redis": 8096,
        "runtime_failover": 8097,
        "runtime_failover_control": 8098,
    }


def test_an_offset_shifts_every_port() -> None:
    shifted = asdict(Ports.documented(100))
    assert {part: port + 100 for part, port in asdict(Ports.documented()).items()} == shifted


def test_free_ports_are_distinct_and_free() -> None:
    ports = Ports.free()
    assert len(set(asdict(ports).values())) == len(asdict(ports))
    ports.check_free()


def test_a_taken_port_is_refused_with_its_part_and_a_way_out() -> None:
    ports = Ports.free()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports.issuer))
        holder.listen()
        with pytest.raises(PortTakenError) as refused:
            ports.check_free()
    message = str(refused.value)
    assert (refused.value.part, refused.value.port) == ("issuer", ports.issuer)
    assert f"port {ports.issuer} (for issuer)" in message
    assert "ss -ltnp" in message
    assert "PORT_OFFSET=100" in message


def test_a_port_held_on_every_address_is_taken_too() -> None:
    ports = Ports.free()
    with socket.socket() as holder:
        holder.bind(("0.0.0.0", ports.redis))  # noqa: S104  # what many servers do by default
        holder.listen()
        with pytest.raises(PortTakenError):
            ports.check_free()


def test_a_port_shared_by_so_reuseport_is_taken_too() -> None:
    ports = Ports.free()
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", ports.gateway))
        holder.listen()
        with pytest.raises(PortTakenError):
            ports.check_free()


def test_a_url_is_loopback_with_the_parts_port() -> None:
    assert Ports.documented(20).url("runtime_control") == "http://127.0.0.1:8111"
