"""Addresses that clients name, of inputs and of webhooks: which may be called, and how they are told."""

import ipaddress
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# What stands before the IPv4 address in the interface identifier of ISATAP.
_ISATAP = {0x0000_5EFE, 0x0200_5EFE}
# Networks that Python came to know late: for documentation, and for segment routing within a provider.
_NOT_PUBLIC = [ipaddress.ip_network(network) for network in ("3fff::/20", "5f00::/16", "64:ff9b:1::/48")]


def is_public(address: Address) -> bool:
    """Return whether an address is on the Internet: a unicast one, in no network of ours, in whatever disguise."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id:
            return False
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        # ISATAP is for within a site, whatever the site's prefix and the address in it.
        isatap = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
        if isatap or address.is_site_local or any(address in network for network in _NOT_PUBLIC):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def shown(url: str) -> str:
    """Return `url` as it may be logged and told: without user, query and fragment, which can carry secrets."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
    except ValueError:
        return "a malformed URL"
