//! Tokens made by `jose` and `jsonwebtoken`, and the public keys that prove them.
//! Adds no claim of its own: what is in a token is what the test asked for, and what the library adds.

import { certificate, jwk, key, pem, raw, without } from './keys.mjs';
import { packages, serve } from './lines.mjs';

const require = packages('tokens');
const jose = require('jose');
const jsonwebtoken = require('jsonwebtoken');

/** What an algorithm signs with: a named key, a text, or bytes in base64. */
function signer({ alg, key: name, secret, secret_base64: bytes, bits, exponent }) {
    if (name !== undefined) return key(name, alg, { bits, exponent }).privateKey;
    return bytes === undefined ? Buffer.from(secret) : Buffer.from(bytes, 'base64');
}

const libraries = {
    jose: (request, header) => request.alg === 'none'
        ? new jose.UnsecuredJWT(request.claims).encode()
        : new jose.SignJWT(request.claims).setProtectedHeader(header).sign(signer(request)),
    jsonwebtoken: (request, header) =>
        jsonwebtoken.sign(request.claims, request.alg === 'none' ? '' : signer(request), { ...request.options, algorithm: request.alg, header }),
};

await serve({ ready: true }, {
    // `header` adds to {alg, kid: the key's name}; null takes a member away.
    sign: async (request) => {
        const header = without({ alg: request.alg, ...(request.key !== undefined && { kid: request.key }), ...request.header });
        return { token: await libraries[request.lib ?? 'jose'](request, header) };
    },
    raw: (request) => ({ token: raw(request) }),
    // What a library reads out of another's token under a secret, if it takes it.
    verify: async ({ lib, alg, token, ...secret }) => ({
        claims: lib === 'jsonwebtoken' ? jsonwebtoken.verify(token, signer(secret), { algorithms: [alg] })
            : (await jose.jwtVerify(token, signer(secret), { algorithms: [alg] })).payload,
    }),
    // What it reads with the keys that are published at an address, and what it calls a key by its own thumbprint.
    fetched: async ({ token, url, audience, issuer }) => {
        const { payload, protectedHeader } = await jose.jwtVerify(token, jose.createRemoteJWKSet(new URL(url)), { audience, issuer, typ: 'JWT' });
        const { keys } = await (await fetch(url)).json();
        return { claims: payload, header: protectedHeader, thumbprints: await Promise.all(keys.map((key) => jose.calculateJwkThumbprint(key))) };
    },
    // A JWE, which nobody here should take.
    encrypt: async (request) => {
        const { alg, enc = 'A256GCM', key: name, secret_base64: bytes } = request;
        const secret = name === undefined ? Buffer.from(bytes, 'base64') : await jose.importJWK(jwk(name, { more: { alg, use: 'enc' } }), alg);
        return { token: await new jose.EncryptJWT(request.claims).setProtectedHeader({ alg, enc }).encrypt(secret) };
    },
    key: ({ key: name, alg, bits, exponent }) => {
        key(name, alg, { bits, exponent });
        return { key: name };
    },
    // `private` leaves the private members in; `more` adds members to each key.
    jwks: ({ keys, private: isPrivate, more }) => ({ keys: keys.map((name) => jwk(name, { isPrivate, more })) }),
    pem: ({ key: name, type }) => ({ pem: pem(name, type) }),
    certificate: ({ key: name }) => ({ pem: certificate(name) }),
});
