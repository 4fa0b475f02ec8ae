CREATE TABLE gateway_api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    pepper INTEGER NOT NULL,
    owner TEXT NOT NULL,
    team TEXT,
    tenant TEXT,
    granted TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    not_before INTEGER,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER,
    replaced_by TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX gateway_api_keys_owner ON gateway_api_keys (owner, id);
CREATE INDEX gateway_api_keys_tenant ON gateway_api_keys (tenant, id);
