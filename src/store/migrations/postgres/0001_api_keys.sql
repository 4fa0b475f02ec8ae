CREATE TABLE gateway_api_keys (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    pepper BIGINT NOT NULL,
    owner TEXT COLLATE "C" NOT NULL,
    team TEXT COLLATE "C",
    tenant TEXT COLLATE "C",
    granted TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_before BIGINT,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT,
    replaced_by TEXT COLLATE "C"
);

CREATE INDEX gateway_api_keys_owner ON gateway_api_keys (owner, id);
CREATE INDEX gateway_api_keys_tenant ON gateway_api_keys (tenant, id);
