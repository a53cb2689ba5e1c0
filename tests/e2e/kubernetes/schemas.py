"""A JSON list of objects on standard input against Kubernetes' own schemas, from 1.29 to the newest at hand, unknown keys refused.
Answers `{"versions", "faults", "unknown"}`; `unknown` are the objects that are none of Kubernetes' own."""
import functools
import json
import sys

from kubernetes_validate import utils
from kubernetes_validate.utils import SchemaNotFoundError, ValidationError

utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)
objects = json.load(sys.stdin)
versions = [version for version in utils.all_versions() if int(version.split(".")[1]) >= 29]
versions = sorted({utils.major_minor(version) for version in versions}, key=lambda version: int(version.split(".")[1]))
faults, unknown = [], []
for item in objects:
    name = f"{item['kind']} {item['metadata']['name']}"
    for version in versions:
        try:
            utils.validate(item, version, strict=True)
        except SchemaNotFoundError:
            if item not in unknown:
                unknown.append(item)
        except ValidationError as fault:
            faults.append(f"{version}: {name}: {'.'.join(str(part) for part in fault.path)}: {fault.message}")
json.dump({"versions": versions, "faults": faults, "unknown": unknown}, sys.stdout)
