# Tokens made by PyJWT, and X.509 certificates of every kind that the tests need.
# Adds no claim of its own: what is in a token is what the test asked for, and what the library adds.

import base64
import datetime
import ipaddress

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from lines import serve

ALGORITHMS = get_default_algorithms()
MAKERS = {
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "PS": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed": lambda: ed25519.Ed25519PrivateKey.generate(),
}
keys = {}
certificates = {}


def named(name, alg=None):
    """The private key of a name, made on first use."""
    if name not in keys:
        maker = next(maker for prefix, maker in MAKERS.items() if (alg or "").startswith(prefix))
        keys[name] = (maker(), alg)
    return keys[name]


def sign(alg, claims, key=None, secret=None, secret_base64=None, header=None, **_):
    """`header` adds to {alg, typ, kid: the key's name}; None takes a member away."""
    given = {"kid": key, **(header or {})}
    if key is not None:
        signer = named(key, alg)[0]
    elif secret_base64 is not None:
        signer = base64.b64decode(secret_base64)
    else:
        signer = secret
    left_out = [name for name, value in given.items() if value is None and name != "typ"]
    given = {name: value for name, value in given.items() if name not in left_out}
    return {"token": jwt.encode(claims, signer, algorithm=alg, headers=given)}


def verify(alg, token, secret, **_):
    """What PyJWT reads out of another's token under a secret, if it takes it."""
    return {"claims": jwt.decode(token, secret, algorithms=[alg])}


def jwks(keys):
    def jwk(name):
        private, alg = named(name)
        return {**ALGORITHMS[alg].to_jwk(private.public_key(), as_dict=True), "kid": name, "alg": alg, "use": "sig"}

    return {"keys": [jwk(name) for name in keys]}


def public_pem(key):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return {"pem": named(key)[0].public_key().public_bytes(serialization.Encoding.PEM, form).decode()}


def fetched(token, url, audience, issuer):
    """What PyJWT reads with the keys that are published at an address."""
    key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
    required = ["iss", "sub", "aud", "iat", "exp"]
    return {"claims": jwt.decode(token, key, algorithms=[key.algorithm_name], audience=audience, issuer=issuer, options={"require": required})}


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()


def certificate(key, alg="ES256", subject=None, issuer=None, dns=(), ip=(), uri=(), authority=False, days=1):
    """A certificate of a named key, by the named key of a certificate made before, or by itself. Negative `days`: it is over."""
    private = named(key, alg)[0]
    name = x509.Name.from_rfc4514_string(subject or f"CN={key}")
    by, by_name = (named(issuer)[0], certificates[issuer].subject) if issuer else (private, name)
    now = datetime.datetime.now(datetime.timezone.utc)
    start, end = sorted([now - datetime.timedelta(hours=1), now + datetime.timedelta(days=days)])
    builder = x509.CertificateBuilder(by_name, name, private.public_key(), x509.random_serial_number(), start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    names = [x509.DNSName(text) for text in dns] + [x509.UniformResourceIdentifier(text) for text in uri]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in ip]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    hashed = None if isinstance(by, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    certificates[key] = builder.sign(by, hashed)
    return {"pem": certificates[key].public_bytes(serialization.Encoding.PEM).decode(), "private": private_pem(private)}


def make(key, alg):
    named(key, alg)
    return {"key": key}


operations = {"sign": sign, "verify": verify, "fetched": fetched, "key": make, "jwks": jwks, "pem": public_pem, "certificate": certificate}
serve({"ready": True}, operations)
