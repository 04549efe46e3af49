//! The tables of the `identity` module and the migrations that make them.
//!
//! Who owns which table: `users` identity_users; `sessions` identity_sessions; `grants`
//! identity_codes, identity_grants, identity_refresh_tokens and identity_revoked_tokens; `consents`
//! identity_consents; `factors` identity_totp, identity_recovery_codes, identity_passkeys and
//! identity_used_challenges; `mail` identity_outbox and identity_mail_tokens; `replay` identity_used_ids; `par`
//! identity_pushed_requests; `device` identity_device_requests; `backchannel` identity_logout_deliveries; `keys`
//! identity_signing_keys; `audit` identity_audit and identity_audit_head.
//!
//! No bearer secret is stored: codes, refresh tokens and session tokens are held as keyed hashes
//! ([`crate::vault`]), passwords as Argon2id, signing keys sealed.

use quintet_store::{Migration, Module, Sql};

/// The module as the store's migrator takes it.
pub(crate) const MODULE: Module = Module { name: "identity", migrations: MIGRATIONS };

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "users", sql: Sql::one(USERS), oldest_reader: 1 },
    Migration { version: 2, name: "sessions and grants", sql: Sql::one(GRANTS), oldest_reader: 1 },
    Migration { version: 3, name: "signing keys", sql: Sql::one(KEYS), oldest_reader: 1 },
    Migration { version: 4, name: "audit", sql: Sql::one(AUDIT), oldest_reader: 1 },
    Migration { version: 5, name: "second factors", sql: Sql::one(FACTORS), oldest_reader: 1 },
    Migration {
        version: 6,
        name: "passkeys",
        sql: Sql::per_dialect(PASSKEYS_SQLITE, PASSKEYS_POSTGRES),
        oldest_reader: 1,
    },
    Migration { version: 7, name: "bound and pushed requests", sql: Sql::one(BOUND), oldest_reader: 1 },
    Migration { version: 8, name: "devices", sql: Sql::one(DEVICES), oldest_reader: 1 },
    Migration { version: 9, name: "logout deliveries", sql: Sql::one(LOGOUTS), oldest_reader: 1 },
    Migration { version: 10, name: "mail", sql: Sql::one(MAIL), oldest_reader: 1 },
    Migration { version: 11, name: "devices of sessions", sql: Sql::one(SESSION_DEVICES), oldest_reader: 1 },
];

const USERS: &str = "
CREATE TABLE identity_users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    email_verified BOOLEAN NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    disabled BOOLEAN NOT NULL,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT identity_users_email_key_key UNIQUE (email_key)
);
";

const GRANTS: &str = "
CREATE TABLE identity_sessions (
    id TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    auth_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    CONSTRAINT identity_sessions_token_hash_key UNIQUE (token_hash)
);
CREATE INDEX identity_sessions_expires_at ON identity_sessions (expires_at);
CREATE TABLE identity_codes (
    code_hash TEXT PRIMARY KEY,
    grant_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    session_id TEXT NOT NULL,
    redirect_uri TEXT NOT NULL,
    scope TEXT NOT NULL,
    nonce TEXT,
    code_challenge TEXT NOT NULL,
    auth_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX identity_codes_expires_at ON identity_codes (expires_at);
CREATE TABLE identity_grants (
    id TEXT PRIMARY KEY,
    client_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    session_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    offline BOOLEAN NOT NULL,
    auth_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    revoked_because TEXT
);
CREATE INDEX identity_grants_session_id ON identity_grants (session_id);
CREATE INDEX identity_grants_expires_at ON identity_grants (expires_at);
CREATE TABLE identity_refresh_tokens (
    token_hash TEXT PRIMARY KEY,
    grant_id TEXT NOT NULL REFERENCES identity_grants (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    grace_uses BIGINT NOT NULL
);
CREATE INDEX identity_refresh_tokens_grant_id ON identity_refresh_tokens (grant_id);
CREATE INDEX identity_refresh_tokens_expires_at ON identity_refresh_tokens (expires_at);
CREATE TABLE identity_revoked_tokens (
    token_id TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE TABLE identity_consents (
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    granted_at BIGINT NOT NULL,
    CONSTRAINT identity_consents_pkey PRIMARY KEY (user_id, client_id)
);
";

const BOUND: &str = "
ALTER TABLE identity_codes ADD COLUMN resource TEXT;
ALTER TABLE identity_codes ADD COLUMN dpop_jkt TEXT;
ALTER TABLE identity_grants ADD COLUMN resource TEXT;
ALTER TABLE identity_grants ADD COLUMN dpop_jkt TEXT;
CREATE TABLE identity_used_ids (
    id_hash TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX identity_used_ids_expires_at ON identity_used_ids (expires_at);
CREATE TABLE identity_pushed_requests (
    uri_hash TEXT PRIMARY KEY,
    client_id TEXT NOT NULL,
    sealed TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX identity_pushed_requests_expires_at ON identity_pushed_requests (expires_at);
";

const DEVICES: &str = "
CREATE TABLE identity_device_requests (
    code_hash TEXT PRIMARY KEY,
    user_code_hash TEXT NOT NULL,
    client_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    resource TEXT,
    expires_at BIGINT NOT NULL,
    poll_seconds BIGINT NOT NULL,
    polled_at BIGINT,
    decision TEXT,
    CONSTRAINT identity_device_requests_user_code_hash_key UNIQUE (user_code_hash)
);
CREATE INDEX identity_device_requests_expires_at ON identity_device_requests (expires_at);
";

const LOGOUTS: &str = "
CREATE TABLE identity_logout_deliveries (
    session_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    next_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    CONSTRAINT identity_logout_deliveries_pkey PRIMARY KEY (session_id, client_id)
);
CREATE INDEX identity_logout_deliveries_next_at ON identity_logout_deliveries (next_at);
";

const KEYS: &str = "
CREATE TABLE identity_signing_keys (
    kid TEXT PRIMARY KEY,
    sealed_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    activates_at BIGINT NOT NULL
);
";

const AUDIT: &str = "
CREATE TABLE identity_audit (
    seq BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    actor TEXT NOT NULL,
    subject TEXT NOT NULL,
    client_id TEXT NOT NULL,
    address TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL
);
CREATE TABLE identity_audit_head (
    id BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
INSERT INTO identity_audit_head (id, seq, hash) VALUES (1, 0, '');
";

/// A previous release signs people in without the second factor while it runs on this schema; what it
/// writes says so by the default of `methods`.
const FACTORS: &str = "
ALTER TABLE identity_sessions ADD COLUMN methods TEXT NOT NULL DEFAULT 'pwd';
ALTER TABLE identity_codes ADD COLUMN methods TEXT NOT NULL DEFAULT 'pwd';
ALTER TABLE identity_grants ADD COLUMN methods TEXT NOT NULL DEFAULT 'pwd';
CREATE TABLE identity_totp (
    user_id TEXT PRIMARY KEY REFERENCES identity_users (id),
    sealed_secret TEXT NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT
);
CREATE TABLE identity_recovery_codes (
    code_hash TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX identity_recovery_codes_user_id ON identity_recovery_codes (user_id);
";

macro_rules! passkeys {
    ($bytes:literal) => {
        concat!(
            "
CREATE TABLE identity_passkeys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES identity_users (id),
    credential_id TEXT NOT NULL,
    public_key ",
            $bytes,
            " NOT NULL,
    sign_count BIGINT NOT NULL,
    backed_up BOOLEAN NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    CONSTRAINT identity_passkeys_credential_id_key UNIQUE (credential_id)
);
CREATE INDEX identity_passkeys_user_id ON identity_passkeys (user_id);
CREATE TABLE identity_used_challenges (
    challenge_hash TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX identity_used_challenges_expires_at ON identity_used_challenges (expires_at);
"
        )
    };
}

const PASSKEYS_SQLITE: &str = passkeys!("BLOB");
const PASSKEYS_POSTGRES: &str = passkeys!("BYTEA");

const MAIL: &str = "
CREATE TABLE identity_outbox (
    id TEXT PRIMARY KEY,
    sealed_letter TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX identity_outbox_next_at ON identity_outbox (next_at);
CREATE TABLE identity_mail_tokens (
    token_hash TEXT PRIMARY KEY,
    user_id TEXT REFERENCES identity_users (id),
    bound_to TEXT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX identity_mail_tokens_expires_at ON identity_mail_tokens (expires_at);
CREATE INDEX identity_grants_user_id ON identity_grants (user_id);
CREATE INDEX identity_sessions_user_id ON identity_sessions (user_id);
";

const SESSION_DEVICES: &str = "
ALTER TABLE identity_sessions ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE identity_sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';
";
