//! Firebase tokens: ID tokens under keys of our own in both forms that Google serves, those of the real Auth emulator, and what firebase-admin makes and takes.
//! Reaches no host of Google: firebase-admin is handed our keys where it asks for Google's.

import { createServer } from 'node:http';
import { Agent } from 'node:https';
import { connect } from 'node:net';
import { randomUUID } from 'node:crypto';

import { certificate, jwk, key, pem, without } from './keys.mjs';
import { listen, packages, serve } from './lines.mjs';

const require = packages('tokens');
const { SignJWT } = require('jose');
const { cert, initializeApp } = require('firebase-admin/app');
const { getAuth } = require('firebase-admin/auth');

const project = 'demo-scopegate';
let kids = [];
let cacheControl = 'public, max-age=21600, must-revalidate, no-transform';
let requests = {};

/** A new key that signs from now on; the old ones stay unless `drop`. */
function rotate({ drop = false } = {}) {
    const kid = randomUUID();
    key(kid, 'RS256');
    kids = [kid, ...(drop ? [] : kids)];
    return { kid };
}

const sets = {
    '/x509': () => Object.fromEntries(kids.map((kid) => [kid, certificate(kid)])),
    '/jwks': () => ({ keys: kids.map((kid) => jwk(kid)) }),
};

const server = createServer((request, response) => {
    // firebase-admin asks by Google's path, which ends otherwise.
    const path = Object.hasOwn(sets, request.url) ? request.url : '/x509';
    requests[path] = (requests[path] ?? 0) + 1;
    if (cacheControl) response.setHeader('cache-control', cacheControl);
    response.setHeader('content-type', 'application/json; charset=UTF-8');
    response.end(JSON.stringify(sets[path]()));
});
const served = await listen(server);
rotate();

/** Takes every connection of firebase-admin to our server, whichever host it is meant for. */
class Ours extends Agent {
    createConnection() {
        return connect(server.address());
    }
}

key('service account', 'RS256');
const credential = cert({ projectId: project, clientEmail: `robot@${project}.iam.gserviceaccount.com`, privateKey: pem('service account', 'pkcs8') });
const admin = getAuth(initializeApp({ credential, projectId: project, httpAgent: new Ours() }));

/** An ID token as Google shapes it. `header` and `claims` add to it; null takes a member away. */
function idToken({ uid = 'user-1', header, claims, key: name = kids[0] }) {
    const now = Math.floor(Date.now() / 1000);
    const firebase = { identities: { email: [`${uid}@example.test`] }, sign_in_provider: 'password' };
    const shape = {
        iss: `https://securetoken.google.com/${project}`, aud: project, auth_time: now, user_id: uid, sub: uid, iat: now, exp: now + 3600,
        email: `${uid}@example.test`, email_verified: false, firebase,
    };
    return new SignJWT(without({ ...shape, ...claims }))
        .setProtectedHeader(without({ alg: 'RS256', kid: name, typ: 'JWT', ...header }))
        .sign(key(name, 'RS256').privateKey);
}

let running;
/** The emulator of firebase-tools, the same that its command starts, without the command. */
async function emulator() {
    const { createApp } = packages('firebase')('firebase-tools/lib/emulator/auth/server');
    running ??= createApp(project).then((app) => listen(createServer(app)));
    return running;
}

/** Signs a user up at the emulator, with custom claims where there are any, and in again. */
async function emulatorToken({ email = 'user@example.test', password = 'password', claims }) {
    const api = `${await emulator()}/identitytoolkit.googleapis.com/v1`;
    const post = async (path, body, authorization = null) => {
        const headers = without({ 'content-type': 'application/json', authorization });
        const answer = await fetch(`${api}${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
        if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
        return answer.json();
    };
    const { localId, idToken: token } = await post('/accounts:signUp?key=any', { email, password, returnSecureToken: true });
    if (!claims) return { uid: localId, token };
    await post(`/projects/${project}/accounts:update`, { localId, customAttributes: JSON.stringify(claims) }, 'Bearer owner');
    const again = await post('/accounts:signInWithPassword?key=any', { email, password, returnSecureToken: true });
    return { uid: localId, token: again.idToken };
}

/** What firebase-admin does while it believes in the emulator. */
async function emulated(work) {
    process.env.FIREBASE_AUTH_EMULATOR_HOST = new URL(await emulator()).host;
    try {
        return await work(getAuth(initializeApp({ projectId: project }, randomUUID())));
    } finally {
        delete process.env.FIREBASE_AUTH_EMULATOR_HOST;
    }
}

await serve({ project, x509: `${served}/x509`, jwks: `${served}/jwks` }, {
    idToken: async (request) => ({ token: await idToken(request) }),
    // Whether firebase-admin takes a token under our keys.
    verify: ({ token }) => admin.verifyIdToken(token).then((claims) => ({ accepted: true, claims }), (error) => ({ accepted: false, reason: error.message })),
    emulator: async () => ({ address: await emulator() }),
    emulatorToken,
    // What firebase-admin signs and no service should take for an ID token.
    customToken: async ({ uid = 'user-1', claims }) => ({ token: await admin.createCustomToken(uid, claims) }),
    sessionCookie: ({ token }) => emulated(async (auth) => ({ token: await auth.createSessionCookie(token, { expiresIn: 600_000 }) })),
    rotate,
    // `null` sends none.
    cacheControl: ({ value }) => {
        cacheControl = value;
        return {};
    },
    // How often each set was asked for since the last time.
    requests: () => {
        const seen = requests;
        requests = {};
        return seen;
    },
});
