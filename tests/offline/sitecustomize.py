"""No network: whatever is not this machine cannot be reached from this Python process.

Python imports a module of this name by itself when it starts.  tests/conftest.py puts this folder on
PYTHONPATH, so that kernels, workers and every other child process are held to it too.  An audit hook
sees each connection, whichever library makes it; what it raises is what a machine without a network
would say, so that libraries fall back as they would there.
"""

import errno
import functools
import ipaddress
import socket
import sys

CONNECTIONS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname"}


def is_here(host):
    """True for loopback, for "any address", and for this machine's own name and addresses."""
    host = host.decode(errors="replace") if isinstance(host, bytes) else str(host or "")
    if host in ("", "localhost", socket.gethostname()):
        return True
    address = as_address(host)
    return bool(address) and (address.is_loopback or address.is_unspecified or host in own_addresses())


def as_address(host):
    try:
        return ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return None


@functools.cache
def own_addresses():
    try:
        return frozenset(socket.gethostbyname_ex(socket.gethostname())[2])
    except OSError:
        return frozenset()


def guard(event, arguments):
    if event in CONNECTIONS:
        connection, address = arguments[:2]
        internet = connection.family in (socket.AF_INET, socket.AF_INET6)  # not AF_UNIX, which stays on the machine
        if internet and address and not is_here(address[0]):
            raise OSError(errno.ENETUNREACH, f"tests reach no network: {address[0]}")
    elif event in LOOKUPS and not as_address(arguments[0]) and not is_here(arguments[0]):
        raise socket.gaierror(socket.EAI_NONAME, f"tests reach no network: {arguments[0]}")


sys.addaudithook(guard)
