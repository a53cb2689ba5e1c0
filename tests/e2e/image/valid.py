# Exit status 0 where a file is a bill of materials by CycloneDX's own schema, with nothing that the schema does not know.
import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

with open(sys.argv[1]) as file:
    text = file.read()
version = SchemaVersion.from_version(json.loads(text)["specVersion"])
sys.exit(JsonStrictValidator(version).validate_str(text) is not None)
