// A JSON list of custom resources on standard input against the schemas that their projects publish: a JSON list of faults.
// An object whose schema is not at hand is a fault, and so is a field that its schema does not have. Envoy Gateway publishes none in a package:
// `security_policy.json` beside this file is written after its documented API, and has what the chart and `deploy/` use of it.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [packages] = process.argv.slice(2);
const require = createRequire(`${packages}/package.json`);
const load = (name) => import(pathToFileURL(`${packages}/node_modules/${name}`).href);
const Ajv = require("ajv").default;
const ajv = new Ajv({ strict: false, allErrors: true });
const policy = ajv.compile(JSON.parse(readFileSync(new URL("security_policy.json", import.meta.url), "utf8")));

const groups = {
  "security.istio.io": "@kubernetes-models/istio",
  "networking.istio.io": "@kubernetes-models/istio",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "cert-manager.io": "@kubernetes-models/cert-manager",
  "traefik.io": "@kubernetes-models/traefik",
};

// The schemas are compiled into functions: each looks at every field that it knows, and at no other. So a field that none has read is of no schema.
function watched(value, read) {
  if (typeof value !== "object" || value === null) return value;
  if (!read.has(value)) read.set(value, new Set());
  return new Proxy(value, {
    get(target, key) {
      read.get(target).add(key);
      return watched(target[key], read);
    },
  });
}

function unread(value, read, path) {
  if (typeof value !== "object" || value === null) return [];
  return Object.keys(value).flatMap((key) => (read.get(value)?.has(key) ? unread(value[key], read, `${path}.${key}`) : [`${path}.${key}`]));
}

// What the schema of a model has against `data`.
function check(Model, data) {
  const read = new Map();
  Model.prototype.validate.call(watched(data, read));
  const strange = unread(data, read, "");
  if (strange.length > 0) throw new Error(`no schema has ${strange.join(", ")}`);
}

// The package has the experimental filter of GEP-1494 as a type of its own, and the route as the standard channel has it, without.
async function externalAuth(route) {
  const { HTTPExternalAuthFilter } = await load("@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1/index.js");
  for (const rule of route.spec.rules) {
    const filters = rule.filters ?? [];
    for (const filter of filters.filter(({ type }) => type === "ExternalAuth")) {
      const { type, externalAuth, ...rest } = filter;
      if (!externalAuth || Object.keys(rest).length > 0) throw new Error("a filter ExternalAuth has `externalAuth` and nothing else");
      // The cluster's rule (CEL), which is no part of the schema.
      const { protocol, grpc, http } = externalAuth;
      if ((protocol === "GRPC") !== (grpc !== undefined) || (protocol === "HTTP") !== (http !== undefined)) {
        throw new Error("externalAuth has `grpc` with the protocol GRPC, `http` with HTTP");
      }
      check(HTTPExternalAuthFilter, externalAuth);
    }
    rule.filters = filters.filter(({ type }) => type !== "ExternalAuth");
  }
}

const faults = [];
for (const item of JSON.parse(readFileSync(0, "utf8"))) {
  const name = `${item.kind} ${item.metadata.name}`;
  const [group, version] = item.apiVersion.split("/");
  try {
    if (group === "gateway.envoyproxy.io" && item.kind === "SecurityPolicy") {
      if (!policy(item)) throw new Error(ajv.errorsText(policy.errors));
      continue;
    }
    if (item.kind === "HTTPRoute") await externalAuth(item);
    if (!groups[group]) throw new Error(`no schema of ${item.apiVersion} is at hand`);
    const module = await load(`${groups[group]}/${group}/${version}/index.js`);
    if (!module[item.kind]) throw new Error(`no schema of ${item.apiVersion} ${item.kind} is at hand`);
    check(module[item.kind], item);
  } catch (fault) {
    faults.push(`${name}: ${fault.message}`);
  }
}
process.stdout.write(JSON.stringify(faults));
