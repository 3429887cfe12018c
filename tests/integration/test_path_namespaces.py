"""The path from near to far on real networks: what breaks is told, and nothing else is."""

from __future__ import annotations

import contextlib
import pathlib
import ssl
import time
from collections.abc import Iterator

import pytest

from diemcau_agent.address import Address, Tls
from diemcau_agent.path.neighbour import neighbour
from diemcau_agent.path.survey import Path
from namespaces import THREAD_PROC, NamespaceError, Namespaces
from path_rig import BROKER_PORT, CENTRE, Authority, NameServerMood, Servers, rig, survey

pytestmark = pytest.mark.netns

BY_ADDRESS = f"mqtt://{CENTRE}:{BROKER_PORT}"


@pytest.fixture
def line() -> Iterator[Servers]:
    with rig() as built:
        yield built


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_on_a_good_line_every_link_answers(line: Servers, authority: Authority) -> None:
    line.name()
    line.reflect()
    line.listen(authority.context())
    facts = survey(line.net, ca_file=authority.ca_file)
    assert (facts["gateway"], facts["gateway_answers"]) == ("10.0.0.1", True)
    assert facts["dns_answers"] is True
    assert (facts["beyond_gateway"], facts["hops"]) == (True, 3)
    assert (facts["mtu_bytes"], facts["mtu_passes"]) == (1500, True)
    assert facts["clock_source"] in ("chrony", "timesyncd", "none")
    assert not {"dns_error", "broker_error", "broker_tls_error", "broker_cert_time"} & set(facts)
    for name in ("gateway_rtt_ms", "dns_ms", "broker_tcp_ms", "broker_tls_ms"):
        assert 0 < facts[name] < 2000
    assert facts["uplinks"] == ["eth0"]


def test_what_is_near_is_told_alone_and_at_once(line: Servers) -> None:
    facts = survey(line.net, near_only=True)
    assert set(facts) == {"gateway", "gateway_answers", "gateway_rtt_ms", "uplinks"}
    assert facts["gateway_answers"] is True


# --- The gateway


def test_a_gateway_that_is_gone_is_told(line: Servers) -> None:
    line.net.run("router", ["ip", "address", "flush", "dev", "eth0"])
    facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
    assert (facts["gateway"], facts["gateway_answers"]) == ("10.0.0.1", False)
    assert facts["beyond_gateway"] is False
    assert "broker_error" in facts
    assert not {"hops", "mtu_bytes", "mtu_passes", "broker_tcp_ms", "dns_answers"} & set(facts)


def test_a_gateway_that_answers_no_ping_is_there(line: Servers) -> None:
    line.net.sysctl("router", "net.ipv4.icmp_echo_ignore_all", 1)
    assert survey(line.net, near_only=True)["gateway_answers"] is True


def test_a_gateway_that_answers_arp_alone_is_there(line: Servers) -> None:
    line.net.run("router", ["ip", "route", "add", "blackhole", "10.0.0.2/32"])  # whatever it would answer
    facts = survey(line.net, near_only=True)
    assert facts["gateway_answers"] is True
    assert "gateway_rtt_ms" not in facts


def test_a_gateway_that_answered_and_is_silent_now_is_gone_at_once(line: Servers) -> None:
    path = Path(Address.parse(BY_ADDRESS), Tls(None, None, None), proc=THREAD_PROC)
    with line.net.enter("kit"):
        assert path.survey(near_only=True)["gateway_answers"] is True
        line.net.run("router", ["ip", "address", "flush", "dev", "eth0"])
        # The kernel still believes in its ARP entry, whose age it tells in hundredths of a second.
        while (known := neighbour("10.0.0.1", "eth0")) is not None and known.confirmed_s < 0.05:
            time.sleep(0.01)
        assert "REACHABLE" in line.net.run("kit", ["ip", "neigh", "show", "10.0.0.1"])
        assert path.survey(near_only=True)["gateway_answers"] is False


def test_a_gateway_that_never_answered_but_to_arp_is_not_called_gone(line: Servers) -> None:
    line.net.run("router", ["ip", "route", "add", "blackhole", "10.0.0.2/32"])
    path = Path(Address.parse(BY_ADDRESS), Tls(None, None, None), proc=THREAD_PROC)
    with line.net.enter("kit"):
        assert path.survey(near_only=True)["gateway_answers"] is True
        assert path.survey(near_only=True).get("gateway_answers") is not False


def test_where_the_kernel_opens_no_ping_to_us_the_gateway_is_asked_otherwise() -> None:
    with rig(pings=False) as line:
        with pytest.raises(NamespaceError, match=r"denied|permitted"):
            line.net.run(
                "kit", ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "ping", "-c1", "10.0.0.1"]
            )
        assert survey(line.net, near_only=True)["gateway_answers"] is True
        line.net.run("router", ["ip", "address", "flush", "dev", "eth0"])
        line.net.run("kit", ["ip", "neigh", "flush", "all"])
        assert survey(line.net, near_only=True)["gateway_answers"] is False


def test_without_a_default_route_there_is_no_gateway(line: Servers) -> None:
    line.net.run("kit", ["ip", "route", "del", "default"])
    facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
    assert facts["gateway_answers"] is False
    assert "gateway" not in facts
    assert not {"beyond_gateway", "hops", "mtu_bytes", "broker_tcp_ms"} & set(facts)
    assert facts["uplinks"] == []


def test_a_centre_on_the_same_wire_needs_no_gateway(line: Servers) -> None:
    line.net.run("kit", ["ip", "route", "del", "default"])
    line.listen(None, host="router", address="10.0.0.1")
    facts = survey(line.net, broker=f"mqtt://10.0.0.1:{BROKER_PORT}", reflector=None)
    assert not {"gateway", "gateway_answers"} & set(facts)
    assert (facts["hops"], facts["beyond_gateway"]) == (1, True)
    assert facts["broker_tcp_ms"] > 0


# --- Beyond it


@pytest.mark.parametrize("refuses", [True, False], ids=["refuses", "silent"])
def test_a_provider_that_is_gone_leaves_the_gateway_alone(line: Servers, refuses: bool) -> None:
    if refuses:
        line.net.run("router", ["ip", "route", "del", "default"])
    else:
        line.net.run("provider", ["ip", "address", "flush", "dev", "eth0"])
    facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
    assert facts["gateway_answers"] is True
    assert facts["beyond_gateway"] is False
    assert not {"hops", "mtu_bytes", "broker_tcp_ms"} & set(facts)


def test_a_centre_that_is_gone_leaves_the_provider_there(line: Servers) -> None:
    line.net.run("centre", ["ip", "address", "flush", "dev", "eth0"])
    facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
    assert (facts["gateway_answers"], facts["beyond_gateway"]) == (True, True)
    assert not {"hops", "mtu_bytes", "broker_tcp_ms"} & set(facts)


# --- MTU


def test_a_router_that_names_its_mtu_is_no_fault() -> None:
    with rig(mtu=1400) as line:
        line.reflect()
        facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
        assert (facts["mtu_bytes"], facts["mtu_passes"]) == (1400, True)


def test_a_line_that_swallows_large_packets_is_told_with_what_passes() -> None:
    with rig(mtu=(1500, 1400)) as line:
        line.reflect()
        facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
        assert facts["mtu_passes"] is False
        assert facts["mtu_bytes"] == 1404  # veth's allowance for a VLAN tag: 4


def test_without_a_reflector_nothing_is_said_of_the_mtu(line: Servers) -> None:
    facts = survey(line.net, broker=BY_ADDRESS, reflector=CENTRE)
    assert facts["hops"] == 3
    assert not {"mtu_bytes", "mtu_passes"} & set(facts)


# --- The name server


@pytest.mark.parametrize(
    ("mood", "error"),
    [
        ("refuses", "no name server answers"),
        ("silent", "no answer in 3 s"),
        ("no_such_name", "no such name: centre.example"),
        (None, "no name server answers"),
    ],
)
def test_a_name_server_that_does_not_help_is_told_apart(
    line: Servers, mood: NameServerMood | None, error: str
) -> None:
    if mood is not None:
        line.name(mood)
    facts = survey(line.net)
    assert (facts["dns_answers"], facts["dns_error"]) == (False, error)
    assert facts["gateway_answers"] is True
    assert not {"broker_tcp_ms", "broker_error", "hops"} & set(facts)


# --- The broker's door


def test_a_door_that_is_shut_is_told(line: Servers) -> None:
    facts = survey(line.net, broker=BY_ADDRESS, reflector=None)
    assert facts["broker_error"] == "Connection refused"
    assert facts["hops"] == 3


@pytest.mark.parametrize(
    ("begin", "end", "error"),
    [
        ("20200101000000Z", "20210101000000Z", "certificate has expired"),
        ("20980101000000Z", "20991231000000Z", "certificate is not yet valid"),
    ],
)
def test_a_certificate_out_of_its_time_is_the_clocks_matter(
    line: Servers, authority: Authority, begin: str, end: str, error: str
) -> None:
    line.listen(authority.context(begin, end))
    facts = survey(
        line.net, broker=f"mqtts://{CENTRE}:{BROKER_PORT}", reflector=None, ca_file=authority.ca_file
    )
    assert (facts["broker_tls_error"], facts["broker_cert_time"]) == (error, True)
    assert facts["broker_tcp_ms"] > 0
    assert "broker_tls_ms" not in facts


def test_a_certificate_of_a_stranger_is_not_the_clocks_matter(
    line: Servers, authority: Authority, tmp_path: pathlib.Path
) -> None:
    line.listen(authority.context())
    facts = survey(
        line.net,
        broker=f"mqtts://{CENTRE}:{BROKER_PORT}",
        reflector=None,
        ca_file=Authority(tmp_path).ca_file,
    )
    assert "broker_tls_error" in facts
    assert not {"broker_cert_time", "broker_tls_ms"} & set(facts)


def test_a_broker_that_wants_our_certificate_and_gets_none_is_told(
    line: Servers, authority: Authority
) -> None:
    context = authority.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    line.listen(context)
    facts = survey(
        line.net, broker=f"mqtts://{CENTRE}:{BROKER_PORT}", reflector=None, ca_file=authority.ca_file
    )
    assert "certificate required" in facts["broker_tls_error"]


# --- Two uplinks, IPv6


def test_the_second_uplink_is_asked_by_itself(line: Servers) -> None:
    net = line.net
    net.host("lte", forwards=True)
    net.link("kit", "lte", ("10.5.0.2/24", "10.5.0.1/24"))
    net.link("lte", "centre", ("10.6.0.1/24", "10.6.0.2/24"))
    net.route("lte", f"{CENTRE}/32", via="10.6.0.2")
    net.route("centre", "10.5.0.0/24", via="10.6.0.1")
    net.route("kit", "default", via="10.5.0.1", metric=700)
    net.run("router", ["ip", "address", "flush", "dev", "eth0"])
    line.reflect()
    line.listen(None)
    first = survey(net, broker=BY_ADDRESS, reflector=CENTRE)
    assert first["uplinks"] == ["eth0", "eth1"]
    assert (first["gateway"], first["gateway_answers"], first["beyond_gateway"]) == ("10.0.0.1", False, False)
    assert not {"mtu_bytes", "broker_tcp_ms"} & set(first)
    second = survey(net, broker=BY_ADDRESS, reflector=CENTRE, interface="eth1")
    assert (second["gateway"], second["gateway_answers"], second["hops"]) == ("10.5.0.1", True, 2)
    assert (second["mtu_bytes"], second["mtu_passes"]) == (1500, True)
    assert second["broker_tcp_ms"] > 0
    assert "clock_source" not in second


def test_a_line_of_ipv6_alone_is_told_as_well() -> None:
    with Namespaces() as net:
        net.host("kit")
        net.host("router", forwards=True)
        net.host("centre")
        near = net.link("kit", "router")
        far = net.link("router", "centre", mtu=1400)
        net.address("kit", near[0], "fd00::2/64")
        net.address("router", near[1], "fe80::1/64")
        net.address("router", near[1], "fd00::1/64")
        net.address("router", far[0], "fd01::1/64")
        net.address("centre", far[1], "fd01::2/64")
        net.route("kit", "default", via="fe80::1", device=near[0])
        net.route("centre", "default", via="fd01::1")
        with contextlib.closing(Servers(net)) as line:
            line.reflect(address="fd01::2")
            line.listen(None, address="fd01::2")
            facts = survey(net, broker="mqtt://[fd01::2]:8883", reflector="fd01::2")
    assert (facts["gateway"], facts["gateway_answers"]) == ("fe80::1%eth0", True)
    assert (facts["hops"], facts["beyond_gateway"]) == (2, True)
    assert (facts["mtu_bytes"], facts["mtu_passes"]) == (1400, True)
    assert facts["broker_tcp_ms"] > 0
