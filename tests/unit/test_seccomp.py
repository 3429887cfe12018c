"""The filter on this kernel, in processes of their own; and, interpreted, on each instruction set."""

from __future__ import annotations

import errno
import json
import signal
import socket
import subprocess
import sys
from typing import Any

import pytest

from bpf import verdict
from diemcau_drivers import seccomp
from diemcau_drivers.confinement import HEARS_OF_DEVICES
from diemcau_drivers.seccomp import AARCH64, ALLOW, ARM, KILL, X86_64, Machine

EPERM, EACCES, ENOSYS = (0x50000 | code for code in (errno.EPERM, errno.EACCES, errno.ENOSYS))
MACHINES = {"x86_64": X86_64, "aarch64": AARCH64, "arm": ARM}
every_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
FAMILIES = range(46)
"""All that there are (linux/socket.h, AF_MAX)."""
UNIX, NETLINK, UEVENT = 1, 16, 15

SEALED = """
import ctypes, errno, json, os, socket, struct, subprocess, sys, threading
from diemcau_drivers import seccomp

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

def call(number, *arguments):
    six = (ctypes.c_ulong(one) for one in (*arguments, *[0] * 6)[:6])
    return "ok" if libc.syscall(ctypes.c_long(number), *six) >= 0 else errno.errorcode[ctypes.get_errno()]

def made(*arguments):
    try:
        socket.socket(*arguments).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"

number = seccomp.machine().number
sealed = sys.argv[1] == "free" or seccomp.seal(uevents=sys.argv[1] == "uevents")
"""


def run(program: str, how: str = "sealed", code: int = 0) -> Any:
    """What ``program`` prints, in a process that has shut itself in; ``code``: how it ends."""
    done = subprocess.run(
        [sys.executable, "-c", SEALED + program, how], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if done.stdout else None


@pytest.fixture(scope="module", autouse=True)
def here() -> None:
    assert seccomp.machine() is not None, "this machine's calls are not known to the filter"
    assert seccomp._built_in(), "this kernel has no seccomp: its proofs cannot be run here"


def judged(machine: Machine, number: int, *arguments: int, uevents: bool = False) -> int:
    return verdict(seccomp.program(machine, uevents), machine.architecture, number, arguments)


def test_no_socket_of_any_family_but_unix_ones_can_be_made() -> None:
    program = f"print(json.dumps([[made(family, kind) for kind in (1, 2, 3)] for family in {[*FAMILIES]}]))"
    told, free = run(program), run(program, "free")
    assert free[socket.AF_INET] == ["ok", "ok", "EPROTONOSUPPORT"]
    assert free[UNIX][0] == "ok"
    assert told == [free[UNIX] if family == UNIX else ["EACCES"] * 3 for family in FAMILIES]


@pytest.mark.parametrize(("how", "uevents"), [("sealed", "EACCES"), ("uevents", "ok")])
def test_of_netlink_only_the_news_of_devices_and_only_to_whom_it_is_given(how: str, uevents: str) -> None:
    program = "print(json.dumps([made(16, kind, protocol) for kind in (2, 3) for protocol in range(23)]))"
    told = run(program, how)
    assert told == [uevents if protocol == UEVENT else "EACCES" for _ in (2, 3) for protocol in range(23)]
    assert run(program, "free").count("ok") > 4


@pytest.mark.parametrize(("how", "hears"), [("sealed", False), ("uevents", True), ("free", True)])
def test_udevs_own_library_hears_of_devices_where_it_is_given_that(how: str, hears: bool) -> None:
    """As libcamera begins: without this it falls back to another list of its cameras."""
    program = """
udev = ctypes.CDLL("libudev.so.1")
udev.udev_new.restype = udev.udev_monitor_new_from_netlink.restype = ctypes.c_void_p
monitor = udev.udev_monitor_new_from_netlink(ctypes.c_void_p(udev.udev_new()), b"udev")
print(json.dumps(bool(monitor) and udev.udev_monitor_enable_receiving(ctypes.c_void_p(monitor)) >= 0))
"""
    assert run(program, how) is hears


def test_it_is_the_cameras_library_that_hears_of_devices() -> None:
    assert HEARS_OF_DEVICES == ("camera",)


def test_each_call_that_no_device_needs_is_refused() -> None:
    program = "print(json.dumps({name: call(number(of)) for name, of in seccomp.REFUSED.items()}))"
    assert run(program) == dict.fromkeys(seccomp.REFUSED, "EPERM")
    assert list(run(program, "free").values()).count("EPERM") < len(seccomp.REFUSED) / 2


def test_threads_and_programs_start_as_before_and_namespaces_do_not() -> None:
    program = """
started = threading.Thread(target=lambda: None)
started.start(), started.join()
print(json.dumps({
    "program": subprocess.run(["true"]).returncode,
    "shell": os.system("true"),
    "posix_spawn": os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)[1],
    "pair": [one.close() for one in socket.socketpair()],
    "clone3": call(number(seccomp.CLONE3)),
    "namespaces": [call(number(seccomp.CLONE), 1 << bit | 17) for bit in (17, 25, 26, 27, 28, 29, 30)],
    "upper half": call(number(seccomp.CLONE), 1 << 28 | 17 | 1 << 40),
}))
"""
    assert run(program) == {
        "program": 0,
        "shell": 0,
        "posix_spawn": 0,
        "pair": [None, None],
        "clone3": "ENOSYS",
        "namespaces": ["EPERM"] * 7,
        "upper half": "EPERM",
    }


def test_what_it_starts_is_under_it_too() -> None:
    program = """
inner = "import socket, sys\\ntry: socket.socket(2, 2)\\nexcept OSError as e: sys.exit(e.errno)"
print(json.dumps(subprocess.run([sys.executable, "-c", inner]).returncode))
"""
    assert run(program) == errno.EACCES
    assert run(program, "free") == 0


def test_it_is_not_widened_by_another_one_nor_by_privileges_of_a_program_that_it_runs() -> None:
    program = """
status = open("/proc/self/status").read()
told = [sealed, "NoNewPrivs:\\t1" in status, "Seccomp:\\t2" in status]
print(json.dumps([*told, seccomp.seal(True), made(16, 3, 15)]))
"""
    assert run(program) == [True, True, True, True, "EACCES"]


@pytest.mark.skipif(seccomp.machine() is not X86_64, reason="has the foreign ABIs that are tried here")
@pytest.mark.parametrize("abi", ["x32", "i386"])
def test_who_calls_by_another_abi_is_ended(abi: str) -> None:
    calls = {
        "x32": "libc.syscall(ctypes.c_long(0x40000000 | 39))",
        # mov eax, 359 (socket); mov ebx, 2; mov ecx, 2; xor edx, edx; int 0x80; ret
        "i386": """
import mmap
code = bytes.fromhex("53 b867010000 bb02000000 b902000000 31d2 cd80 5b c3")
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
""",
    }
    run(calls[abi], code=-signal.SIGSYS)
    run(calls[abi], "free")


@every_machine
def test_on_every_machine_sockets_are_unix_ones(machine: Machine) -> None:
    for number in (machine.number(seccomp.SOCKET), machine.number(seccomp.SOCKETPAIR)):
        for family in FAMILIES:
            expected = ALLOW if family == UNIX else EACCES
            # What is in the upper half the kernel does not look at, so neither may the filter.
            for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
                assert judged(machine, number, family | upper, 2, 0) == expected
        assert judged(machine, number, UNIX << 32, 2, 0) == EACCES
        told = [judged(machine, number, NETLINK, 3, protocol, uevents=True) for protocol in range(32)]
        assert told == [ALLOW if protocol == UEVENT else EACCES for protocol in range(32)]
        assert judged(machine, number, NETLINK, 3, UEVENT) == EACCES
        assert judged(machine, number, 2, 2, UEVENT, uevents=True) == EACCES
        assert judged(machine, number, UNIX, 1, 0, uevents=True) == ALLOW


@every_machine
def test_on_every_machine_exactly_what_is_named_is_refused(machine: Machine) -> None:
    refused = {machine.number(of) for of in seccomp.REFUSED.values()}
    assert len(refused) == len(seccomp.REFUSED), "a number twice"
    special = {machine.number(of) for of in (seccomp.SOCKET, seccomp.SOCKETPAIR, seccomp.CLONE3)}
    assert not refused & special
    for number in range(512):
        expected = EPERM if number in refused else ALLOW
        if number not in special:
            assert judged(machine, number) == expected
    assert judged(machine, machine.number(seccomp.CLONE3)) == ENOSYS


@every_machine
def test_on_every_machine_a_thread_may_be_made_and_a_namespace_may_not(machine: Machine) -> None:
    clone = machine.number(seccomp.CLONE)
    thread, vfork = 0x003D0F00, 0x4100 | signal.SIGCHLD
    assert judged(machine, clone, thread) == judged(machine, clone, vfork) == ALLOW
    for bit in range(32):
        namespace = bit in (17, 25, 26, 27, 28, 29, 30)
        assert judged(machine, clone, 1 << bit | signal.SIGCHLD) == (EPERM if namespace else ALLOW)


@every_machine
def test_on_every_machine_anothers_calls_end_the_process(machine: Machine) -> None:
    own = [*seccomp.program(machine, True)]
    for other in (*MACHINES.values(), Machine(0x40000003, 0)):  # and i386
        if other is not machine:
            assert verdict(own, other.architecture, other.number(seccomp.SOCKET), (UNIX, 1)) == KILL
    if machine is X86_64:
        assert {judged(machine, 0x40000000 | number) for number in (0, 39, 41, 511)} == {KILL}


@every_machine
def test_a_program_is_one_the_kernel_takes(machine: Machine) -> None:
    """At most 4096 instructions; each jump within it; the last one returns."""
    program = [*seccomp.program(machine, True)]
    assert len(program) < 256
    for at, (code, where_so, where_not, _) in enumerate(program):
        assert at + 1 + max(where_so, where_not) < len(program) or code == 6
    assert program[-1][0] == 6


@pytest.mark.parametrize(
    ("name", "pointer_bytes", "order", "expected"),
    [
        ("x86_64", 8, "little", X86_64),
        ("aarch64", 8, "little", AARCH64),
        ("aarch64", 4, "little", ARM),
        ("armv7l", 4, "little", ARM),
        ("armv6l", 4, "little", ARM),
        ("x86_64", 4, "little", None),
        ("riscv64", 8, "little", None),
        ("armv7b", 4, "big", None),
        ("aarch64", 8, "big", None),
    ],
)
def test_which_machine_it_is_comes_from_the_process_not_only_from_the_kernel(
    monkeypatch: pytest.MonkeyPatch, name: str, pointer_bytes: int, order: str, expected: Machine | None
) -> None:
    class Uname:
        machine = name

    def wide(of: object) -> int:
        return pointer_bytes

    monkeypatch.setattr(seccomp.os, "uname", Uname)
    monkeypatch.setattr(seccomp.ctypes, "sizeof", wide)
    monkeypatch.setattr(seccomp.sys, "byteorder", order)
    assert seccomp.machine() is expected


WORKER = """
import sys
from diemcau_drivers import prctl, seccomp
{change}
from diemcau_drivers.__main__ import main
sys.exit(main())
"""
"""A device's process where seccomp is not as here."""


def worker(change: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WORKER.format(change=change), "presence"],
        input=json.dumps({"backend": "sysfs"}) + "\n",
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "change", ["seccomp.MACHINES.clear()", "seccomp._MODE_FILTER = 99"], ids=["machine", "kernel"]
)
def test_where_there_is_none_it_is_told_and_the_process_goes_on(change: str) -> None:
    done = worker(change)
    assert done.returncode == 0, done.stderr
    ready = json.loads(done.stdout)["ready"]
    assert (ready["seccomp"], ready["landlock"] > 0) == (False, True)


def test_a_kernel_that_has_it_and_refuses_ends_the_process_before_it_imports_anything() -> None:
    done = worker("seccomp._return = lambda verdict: (0xFFFF, 0, 0, verdict)")
    assert (done.returncode, done.stdout) == (3, "")
    assert "presence: cannot be shut in: " in done.stderr
    assert "prctl(22)" in done.stderr
    assert "Traceback" not in done.stderr
