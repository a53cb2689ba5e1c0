"""`{"object", "patch"}` on standard input into the object with the JSON Patch (RFC 6902) applied, as a library that is not ours applies it.
Fails where a path leads nowhere."""
import json
import sys

import jsonpatch

asked = json.load(sys.stdin)
json.dump(jsonpatch.apply_patch(asked["object"], asked["patch"]), sys.stdout)
