"""Keys and certificates of the cluster's components, and the kubeconfig files that use them."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.cluster.places import API_SERVER, CHART_HOSTS, KEYS, NODE

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
LIFETIME = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    """Who a certificate is for: common name, organisation, and what it is reached by."""

    name: str
    organisation: str = ""
    hosts: tuple[str, ...] = ()


IDENTITIES = {
    "apiserver": Identity(
        "kube-apiserver",
        hosts=("localhost", "kubernetes.default.svc", "kubernetes.default", "127.0.0.1", "10.96.0.1", NODE),
    ),
    "charts": Identity("charts", hosts=CHART_HOSTS),
    "admin": Identity("admin", "system:masters"),
    "controller-manager": Identity("system:kube-controller-manager"),
    "scheduler": Identity("system:kube-scheduler"),
    "proxy": Identity("system:kube-proxy"),
    "front-proxy": Identity("front-proxy"),
    "kubelet": Identity("system:node:node1", "system:nodes", ("node1", "127.0.0.1", NODE)),
}


def make() -> None:
    """Write an authority, a certificate for each identity, and the key that signs service accounts' tokens."""
    KEYS.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(Identity("darkroom-e2e"), authority_key, None, authority_key)
    _write("ca", authority_key, authority)
    for name, identity in IDENTITIES.items():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(name, key, _certificate(identity, key, authority, authority_key))
    signer = rsa.generate_private_key(65537, 2048)
    _write("service-accounts", signer, None)
    public = signer.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (KEYS / "service-accounts.pub").write_bytes(public)


def kubeconfig(name: str, path: Path) -> Path:
    """Write the kubeconfig of the identity `name` to `path` and return it."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": {"server": API_SERVER, "certificate-authority": str(KEYS / "ca.crt")}}],
        "users": [
            {
                "name": name,
                "user": {"client-certificate": str(KEYS / f"{name}.crt"), "client-key": str(KEYS / f"{name}.key")},
            }
        ],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": name}}],
        "current-context": "e2e",
    }
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o600)
    return path


def _certificate(
    identity: Identity, key: Key, authority: x509.Certificate | None, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, identity.name)]
    if identity.organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.organisation))
    subject = x509.Name(parts)
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority:
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if identity.hosts:
        names = [_general_name(host) for host in identity.hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(name: str, key: Key, certificate: x509.Certificate | None) -> None:
    path = KEYS / f"{name}.key"
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )
    if certificate:
        (KEYS / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
