CREATE TABLE gateway_prompt_revision (
    id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL
);

INSERT INTO gateway_prompt_revision (id, revision) VALUES (1, 0);

CREATE TABLE gateway_prompts (
    name TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    latest BIGINT NOT NULL,
    labels TEXT NOT NULL,
    revision BIGINT NOT NULL
);

CREATE UNIQUE INDEX gateway_prompts_revision ON gateway_prompts (revision);

CREATE TABLE gateway_prompt_versions (
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    digest TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE gateway_prompt_moves (
    revision BIGINT NOT NULL PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    record TEXT NOT NULL
);

CREATE INDEX gateway_prompt_moves_name ON gateway_prompt_moves (name, revision);
CREATE INDEX gateway_prompt_moves_label ON gateway_prompt_moves (name, label, revision);
