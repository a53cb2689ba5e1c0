//! Requests as lines of JSON on standard input, each answered by one line of JSON on standard output; `{"error": …}` where it fails.
//! Ends when its input does, so that nothing outlives the test that started it. Listens on loopback only.

import { Console } from 'node:console';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

// Standard output belongs to the answers, whatever a package thinks of it.
globalThis.console = new Console(process.stderr);

/** Loads from a folder of packages that `tests/run tools` fills. */
export const packages = (folder) => createRequire(new URL(`../../../target/tools/packages/${folder}/`, import.meta.url));

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

/** Says that it is ready, with what a test needs to know, and answers until the input ends. */
export async function serve(ready, operations) {
    say(ready);
    for await (const line of createInterface({ input: process.stdin })) {
        try {
            const { op, ...request } = JSON.parse(line);
            if (!Object.hasOwn(operations, op)) throw new Error(`no operation ${op}`);
            say(await operations[op](request));
        } catch (error) {
            console.error(error);
            say({ error: `${error?.message ?? error}` });
        }
    }
    process.exit(0);
}

/** The address of an HTTP server that listens from now on. */
export async function listen(server) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${server.address().port}`;
}
