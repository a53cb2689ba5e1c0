//! Keys by name, made on first use, as the forms that a verifier is given: JWK, PEM, certificate.
//! Refuses a name that already stands for a key of another type.

import * as crypto from 'node:crypto';

import { packages } from './lines.mjs';

const require = packages('tokens');
const keys = new Map();

const TYPES = {
    RS256: 'rsa', RS384: 'rsa', RS512: 'rsa', PS256: 'rsa', PS384: 'rsa', PS512: 'rsa',
    ES256: 'P-256', ES384: 'P-384', ES512: 'P-521', ES256K: 'secp256k1', EdDSA: 'ed25519', Ed25519: 'ed25519',
};

/** The pair of a name. `alg` says its type, and `bits` and `exponent` how an RSA key is made. */
export function key(name, alg, { bits = 2048, exponent = 65537 } = {}) {
    const found = keys.get(name);
    const type = TYPES[alg ?? found?.alg];
    if (!type) throw new Error(`no key ${name}, and no type of key for ${alg}`);
    if (found) {
        if (TYPES[found.alg] !== type) throw new Error(`${name} is a key for ${found.alg}`);
        return found;
    }
    const made = type === 'rsa' ? crypto.generateKeyPairSync('rsa', { modulusLength: bits, publicExponent: exponent })
        : type === 'ed25519' ? crypto.generateKeyPairSync('ed25519')
        : crypto.generateKeyPairSync('ec', { namedCurve: type });
    keys.set(name, { ...made, alg });
    return keys.get(name);
}

/** A JWK named after its key. `more` adds members, and `null` there takes one away. */
export function jwk(name, { isPrivate = false, more = {} } = {}) {
    const { alg, publicKey, privateKey } = key(name);
    return without({ ...(isPrivate ? privateKey : publicKey).export({ format: 'jwk' }), kid: name, alg, use: 'sig', ...more });
}

/** `spki`, `pkcs1` (both public) or `pkcs8` (private). */
export function pem(name, type = 'spki') {
    const { publicKey, privateKey } = key(name);
    return (type === 'pkcs8' ? privateKey : publicKey).export({ type, format: 'pem' });
}

/** A self-signed certificate of an RSA key, valid for a day. */
export function certificate(name) {
    const { pki, md } = require('node-forge');
    const day = 86_400_000;
    const made = pki.createCertificate();
    made.publicKey = pki.publicKeyFromPem(pem(name));
    made.serialNumber = '01';
    made.validity = { notBefore: new Date(Date.now() - day), notAfter: new Date(Date.now() + day) };
    for (const set of ['setSubject', 'setIssuer']) made[set]([{ name: 'commonName', value: name }]);
    made.sign(pki.privateKeyFromPem(pem(name, 'pkcs8')), md.sha256.create());
    return pki.certificateToPem(made).replaceAll('\r', '');
}

/** A compact JWS over the texts as they are, which no library would sign. `der` encodes an ECDSA signature the wrong way. */
export function raw({ alg, key: name, secret, header, payload, der = false }) {
    const signed = [header, payload].map((text) => Buffer.from(text).toString('base64url')).join('.');
    const hash = `sha${alg.slice(2)}`;
    const signature = alg === 'none' ? Buffer.alloc(0)
        : alg.startsWith('HS') ? crypto.createHmac(hash, secret).update(signed).digest()
        : crypto.sign(/^Ed/.test(alg) ? null : hash, Buffer.from(signed), {
            key: key(name, alg).privateKey,
            dsaEncoding: der ? 'der' : 'ieee-p1363',
            ...(alg.startsWith('PS') && { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST }),
        });
    return `${signed}.${signature.toString('base64url')}`;
}

/** The members that are not null. */
export const without = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
