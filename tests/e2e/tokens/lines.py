# Requests as lines of JSON on standard input, each answered by one line of JSON on standard output; `{"error": …}` where it fails.
# Ends when its input does, so that nothing outlives the test that started it.

import json
import os
import sys
import traceback


def say(answer):
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def serve(ready, operations):
    """Says that it is ready, with what a test needs to know, and answers until the input ends."""
    say(ready)
    for line in sys.stdin:
        try:
            request = json.loads(line)
            say(operations[request.pop("op")](**request))
        except Exception as error:
            traceback.print_exc()
            say({"error": str(error) or repr(error)})
    # Without a word to threads that still talk to somebody.
    os._exit(0)
