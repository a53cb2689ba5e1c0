//! Service tokens as Backstage itself makes and takes them: its shared-secret token manager, and whole backends with plugins that tell who called.
//! Nothing of Backstage is imitated here; its plugin keys come from files, since a database would say nothing about tokens.

import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { packages, serve } from './lines.mjs';

const require = packages('tokens');
const { ServerTokenManager } = require('@backstage/backend-common');
const { createBackend } = require('@backstage/backend-defaults');
const { rootHttpRouterServiceFactory } = require('@backstage/backend-defaults/rootHttpRouter');
const { coreServices, createBackendPlugin, createServiceFactory } = require('@backstage/backend-plugin-api');
const { ConfigReader } = require('@backstage/config');
const { createLogger, transports } = require('winston');

const logger = createLogger({ transports: [new transports.Stream({ stream: process.stderr })] });
/** Backends by the address of their plugins. */
const backends = new Map();

const manager = (keys) => ServerTokenManager.fromConfig(new ConfigReader({ backend: { auth: { keys: keys.map((secret) => ({ secret })) } } }), { logger });

const provided = (service, instance) => createServiceFactory({ service, deps: {}, factory: () => instance });

/** A key pair in files, since that is how Backstage reads one. */
function keyStore() {
    const folder = mkdtempSync(join(tmpdir(), 'backstage-'));
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const [publicKeyFile, privateKeyFile] = ['public', 'private'].map((name) => join(folder, name));
    writeFileSync(publicKeyFile, publicKey.export({ type: 'spki', format: 'pem' }));
    writeFileSync(privateKeyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const remove = () => rmSync(folder, { recursive: true });
    return { config: { type: 'static', static: { keys: [{ publicKeyFile, privateKeyFile, keyId: randomUUID(), algorithm: 'ES256' }] } }, remove };
}

/** A plugin that answers everything with who asked, as Backstage sees it, and takes services only. */
const plugin = (pluginId, auths) => createBackendPlugin({
    pluginId,
    register: (env) => env.registerInit({
        deps: { auth: coreServices.auth, httpAuth: coreServices.httpAuth, router: coreServices.httpRouter },
        async init({ auth, httpAuth, router }) {
            auths.set(pluginId, auth);
            router.use(async (request, response) => {
                const { principal } = await httpAuth.credentials(request, { allow: ['service'] });
                response.json({ plugin: pluginId, path: request.path, principal });
            });
        },
    }),
});

async function start({ plugins = ['catalog'], auth = {}, bases = {} }) {
    const auths = new Map();
    const store = keyStore();
    const listen = { host: '127.0.0.1', port: 0 };
    const config = { backend: { baseUrl: 'http://127.0.0.1', listen, auth: { ...auth, pluginKeyStore: store.config } } };
    let server;
    const backend = createBackend();
    backend.add(provided(coreServices.rootConfig, new ConfigReader(config)));
    backend.add(provided(coreServices.rootLogger, logger));
    backend.add(provided(coreServices.database, {}));
    backend.add(rootHttpRouterServiceFactory({ configure: (context) => {
        server = context.server;
        context.applyDefaults();
    } }));
    // Plugins are at the port that the system gave, unless they are said to be elsewhere.
    const getBaseUrl = async (id) => bases[id] ?? `http://127.0.0.1:${server.port()}/api/${id}`;
    backend.add(provided(coreServices.discovery, { getBaseUrl, getExternalBaseUrl: getBaseUrl }));
    plugins.forEach((id) => backend.add(plugin(id, auths)));
    await backend.start();
    store.remove();
    const api = `http://127.0.0.1:${server.port()}/api`;
    backends.set(api, auths);
    return { api };
}

await serve({ ready: true }, {
    // Keys are base64, as in Backstage's configuration; the first signs.
    getToken: ({ keys }) => manager(keys).getToken(),
    authenticate: ({ keys, token }) => manager(keys).authenticate(token).then(() => ({ accepted: true }), (error) => ({ accepted: false, reason: error.message })),
    // A backend with `plugins`, each at `API/PLUGIN`; `auth` is Backstage's own `backend.auth`, and `bases` says where other plugins are.
    start,
    // What `plugin` sends when it calls `target`.
    pluginToken: async ({ api, plugin: id, target }) => {
        const auth = backends.get(api).get(id);
        return auth.getPluginRequestToken({ onBehalfOf: await auth.getOwnServiceCredentials(), targetPluginId: target });
    },
});
