#!/bin/sh
# Puts three people and two keys into the store, by the management API:
#   OPERATOR_TOKEN=… sh people.sh [http://127.0.0.1:9190]
# Needs curl. Stops at the first answer that is no success; what is there already is a conflict.
set -eu
api=${1:-http://127.0.0.1:9190}

# Token and keys go by standard input: everybody on the machine sees arguments.
call() {
    data=$(printf %s "$3" | sed 's/["\\]/\\&/g')
    printf 'header = "Authorization: Bearer %s"\nheader = "Content-Type: application/json"\ndata = "%s"\n' "$OPERATOR_TOKEN" "$data" |
        curl -fsS -K - -X "$1" "$api$2"
}

id() {
    sed 's/.*"id":"\([^"]*\)".*/\1/'
}

person() {
    call POST /profiles "{\"email\": \"$1\"}" | id
}

key() {
    call POST /tenant/api-keys/import "{\"keys\": [{\"key\": \"$2\", \"name\": \"$3\", \"profile_id\": \"$1\"}]}" | id
}

ada=$(person ada@example.com)
bob=$(person bob@example.com)
person eve@example.com > /dev/null
key "$ada" 12345678-1234-1234-1234-123456789abc "Ada's agent" > /dev/null
bobs=$(key "$bob" 7d1f4c0e-93a5-4b6e-8c2d-5e0a9b1c3f72 "Bob's agent")
# Switched off until Bob needs it.
call PATCH "/tenant/api-keys/$bobs" '{"enabled": false}' > /dev/null
