//! A browser and what its pages talk to: two sites, and the application that the gate stands before (events, a WebSocket, orders).
//! Judges nothing: tells what a page got to see, and what the application was asked.

import { createServer } from 'node:http';

import { listen, packages, serve } from '../tokens/lines.mjs';
import { start } from './program.mjs';

const require = packages('browser');
const { WebSocketServer } = require('ws');

let seen = [];

const application = createServer((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers['x-scopegate-id'] ?? ''}`.trimEnd());
    if (request.url !== '/events') {
        response.setHeader('content-type', 'text/html');
        response.end(`for ${request.headers['x-scopegate-id'] ?? 'anybody'}`);
        return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write('data: 0\n\n');
    let number = 0;
    const timer = setInterval(() => response.write(`data: ${++number}\n\n`), 20);
    response.on('close', () => clearInterval(timer));
});
new WebSocketServer({ server: application }).on('connection', (socket, request) => {
    seen.push(`SOCKET ${request.url} ${request.headers['x-scopegate-id'] ?? ''}`.trimEnd());
    socket.on('message', (data) => socket.send(`${data}`));
});

const site = () => createServer((request, response) => response.end('a site'));

const browser = await start();
const context = await browser.newContext();
const page = await context.newPage();
page.setDefaultTimeout(20_000);

/** What a page sees of a WebSocket: what came back of a text, and the code of its end, if it is waited for. */
const socket = ({ url, text, toTheEnd }) =>
    new Promise((resolve) => {
        const line = new WebSocket(url);
        let back = null;
        line.onopen = () => line.send(text);
        line.onmessage = ({ data }) => {
            back = data;
            if (!toTheEnd) line.close(1000);
            // A sign for the test that it is open.
            globalThis.document.title = 'open';
        };
        line.onclose = ({ code }) => resolve({ back, code });
    });

/** The first events of a stream, or that there are none. */
const events = ({ url, count }) =>
    new Promise((resolve) => {
        const source = new EventSource(url, { withCredentials: true });
        const data = [];
        source.onmessage = (event) => {
            data.push(event.data);
            if (data.length === count) {
                source.close();
                resolve({ data });
            }
        };
        source.onerror = () => {
            source.close();
            resolve({ data: null });
        };
    });

const fetched = async ({ url, init }) => {
    try {
        const response = await fetch(url, init);
        return { status: response.status, body: await response.text(), reason: response.headers.get('x-scopegate-reason') };
    } catch (error) {
        return { status: null, body: `${error}` };
    }
};

let pending;
const [upstream, friend, stranger] = [await listen(application), await listen(site()), await listen(site())];
await serve(
    { upstream, friend, stranger },
    {
        visit: async ({ url }) => ({ status: (await page.goto(url)).status() }),
        cookie: async ({ url, name, value }) => {
            await context.addCookies([{ url, name, value }]);
            return {};
        },
        socket: (request) => page.evaluate(socket, request),
        // Goes on while others are asked; `ended` waits for it.
        hold: async (request) => {
            pending = page.evaluate(socket, { ...request, toTheEnd: true });
            await page.waitForFunction(() => document.title === 'open');
            return {};
        },
        ended: () => pending,
        events: (request) => page.evaluate(events, request),
        fetch: (request) => page.evaluate(fetched, request),
        seen: () => {
            const taken = seen;
            seen = [];
            return { seen: taken };
        },
    },
);
