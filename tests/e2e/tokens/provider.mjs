//! A certified OpenID Provider: access tokens as JWT and opaque, discovery, key rotation, introspection, revocation.
//! Knows clients only, no users: every token comes of client credentials.

import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';

import { listen, packages, serve } from './lines.mjs';

const require = packages('tokens');
const { Provider } = require('oidc-provider');

/** `robot` gets the tokens, `gate` asks about them. */
const clients = ['robot', 'gate'].map((client_id) => ({
    client_id,
    client_secret: randomUUID(),
    grant_types: client_id === 'robot' ? ['client_credentials'] : [],
    redirect_uris: [],
    response_types: [],
}));
const secrets = Object.fromEntries(clients.map(({ client_id: id, client_secret: secret }) => [id, secret]));

/** What every provider that follows another at the same address remembers. */
const stored = new Map();
let keys = [];
/** The token that is being asked for, and how the server in front behaves. */
let wanted = {};
let front = {};
let requests = {};
let provider;

/** oidc-provider asks for a class of its own for each kind of object. */
class Store {
    constructor(kind) {
        this.kind = kind;
    }

    async upsert(id, payload) {
        stored.set(`${this.kind} ${id}`, payload);
    }

    async find(id) {
        return stored.get(`${this.kind} ${id}`);
    }

    async destroy(id) {
        stored.delete(`${this.kind} ${id}`);
    }
}

const makers = {
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    PS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    ES384: () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    EdDSA: () => generateKeyPairSync('ed25519'),
};

/** A new key for each algorithm before the old ones, which go if `drop`; and a provider that has them, since none changes its keys. */
function rotate({ drop = false } = {}) {
    const made = Object.entries(makers).map(([alg, make]) => ({ ...make().privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() }));
    keys = [...made, ...(drop ? [] : keys)];
    provider = new Provider(issuer, {
        adapter: Store,
        clients,
        jwks: { keys },
        scopes: ['orders:read', 'orders:write'],
        enabledJWA: { idTokenSigningAlgValues: Object.keys(makers) },
        extraTokenClaims: () => wanted.claims,
        features: {
            clientCredentials: { enabled: true },
            devInteractions: { enabled: false },
            introspection: { enabled: true },
            revocation: { enabled: true },
            resourceIndicators: { enabled: true, defaultResource: () => wanted.resource, getResourceServerInfo: resource },
        },
    });
    return { kids: Object.fromEntries(made.map(({ alg, kid }) => [alg, kid])) };
}

const resource = () => ({
    scope: wanted.scope ?? '',
    audience: wanted.audience ?? wanted.resource,
    accessTokenTTL: wanted.ttl ?? 600,
    accessTokenFormat: wanted.format,
    jwt: { sign: { alg: wanted.alg ?? 'RS256' } },
});

async function post(path, client, fields) {
    const authorization = `Basic ${Buffer.from(`${client}:${secrets[client]}`).toString('base64')}`;
    const body = new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined));
    const answer = await fetch(`${issuer}${path}`, { method: 'POST', headers: { authorization }, body });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : {};
}

const server = createServer((request, response) => {
    const path = request.url.split('?')[0];
    requests[path] = (requests[path] ?? 0) + 1;
    if (front.down) return request.socket.destroy();
    if (front.cache_control) response.setHeader('cache-control', front.cache_control);
    return provider.callback()(request, response);
});
const issuer = await listen(server);
rotate();

await serve({ issuer, jwks: `${issuer}/jwks`, introspection: `${issuer}/token/introspection`, client_id: 'gate', client_secret: secrets.gate }, {
    // `format` is jwt or opaque; also scope, resource, audience, ttl, alg and claims.
    token: async (request) => {
        wanted = { format: 'jwt', resource: 'https://api.test', ...request };
        return post('/token', 'robot', { grant_type: 'client_credentials', scope: wanted.scope });
    },
    revoke: ({ token }) => post('/token/revocation', 'robot', { token }),
    // What the provider itself says of a token.
    introspect: ({ token }) => post('/token/introspection', 'gate', { token }),
    rotate,
    // `down` closes every connection unanswered; `cache_control` is put on every answer that has none.
    front: (request) => {
        front = request;
        return {};
    },
    // How often each path was asked for since the last time.
    requests: () => {
        const seen = requests;
        requests = {};
        return seen;
    },
});
