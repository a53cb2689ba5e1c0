-- Read by SQLite and PostgreSQL alike: TEXT, BIGINT and BYTEA mean the same to both. Instants are seconds since 1970, flags are 0 and 1,
-- lists are JSON, and a tenant of '' is none.

-- One row. Every transaction that changes what a decision depends on adds one to it first, and holds it to its end: versions come in the
-- order of commits, and whoever reads all rows above the last version that it knows misses none.
CREATE TABLE store_version (
    id BIGINT PRIMARY KEY,
    version BIGINT NOT NULL
);
INSERT INTO store_version (id, version) VALUES (1, 0);

-- Which of `store_keys` this store was written under, with a proof that a key of that id is the same one.
CREATE TABLE store_key_proofs (
    id TEXT PRIMARY KEY,
    proof BYTEA NOT NULL
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    -- scopegate | uuid
    form TEXT NOT NULL,
    -- HMAC-SHA-256 of the whole key under the pepper of this id
    digest BYTEA NOT NULL UNIQUE,
    pepper TEXT NOT NULL,
    previous_digest BYTEA,
    previous_pepper TEXT,
    previous_until BIGINT,
    scopes TEXT NOT NULL,
    roles TEXT NOT NULL,
    profile TEXT,
    -- as in `rate_limit`: {"rate", "burst"}
    rate_limit TEXT,
    enabled BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    -- written behind, without a version
    request_count BIGINT NOT NULL,
    last_used_at BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX api_keys_by_version ON api_keys (version);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, id);

CREATE TABLE roles (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    permissions TEXT NOT NULL,
    inherits TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- kept for those who have not heard of it
    deleted BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);
CREATE INDEX roles_by_version ON roles (version);

CREATE TABLE role_assignments (
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, subject, role)
);
CREATE INDEX role_assignments_by_version ON role_assignments (version);

CREATE TABLE profiles (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    -- ASCII letters in lower case
    email TEXT NOT NULL,
    enabled BIGINT NOT NULL,
    scopes TEXT NOT NULL,
    roles TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    deleted BIGINT NOT NULL,
    version BIGINT NOT NULL
);
CREATE UNIQUE INDEX profiles_by_email ON profiles (tenant, email) WHERE deleted = 0;
CREATE INDEX profiles_by_version ON profiles (version);

CREATE TABLE revocations (
    -- jti | subject | credential_id
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    value TEXT NOT NULL,
    -- none: for good
    until BIGINT,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (kind, tenant, value)
);
CREATE INDEX revocations_by_version ON revocations (version);
CREATE INDEX revocations_by_until ON revocations (until);

-- A principal is an id of a realm: a credential's name in the configuration, or `profile`.
CREATE TABLE mfa (
    realm TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- encrypted under the key of this id
    secret BYTEA,
    seal TEXT,
    -- none once enabled
    pending_until BIGINT,
    verified_at BIGINT,
    -- RFC 6238 §5.2: nothing at or below is accepted again
    last_step BIGINT NOT NULL,
    enabled_at BIGINT,
    -- a later enrolment counts from after it
    ended_at BIGINT,
    codes_at BIGINT,
    window_start BIGINT NOT NULL,
    window_failures BIGINT NOT NULL,
    failures_in_a_row BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (realm, tenant, subject)
);
CREATE INDEX mfa_by_version ON mfa (version);

CREATE TABLE mfa_codes (
    realm TEXT NOT NULL,
    tenant TEXT NOT NULL,
    subject TEXT NOT NULL,
    slot BIGINT NOT NULL,
    -- Argon2id, PHC string
    hash TEXT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (realm, tenant, subject, slot)
);

-- Answers to creates that may be repeated, encrypted, for a day.
CREATE TABLE idempotency (
    actor TEXT NOT NULL,
    -- SHA-256 of the Idempotency-Key, and of the request
    token BYTEA NOT NULL,
    request BYTEA NOT NULL,
    answer BYTEA NOT NULL,
    seal TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (actor, token)
);
