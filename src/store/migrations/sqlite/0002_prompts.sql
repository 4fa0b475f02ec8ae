CREATE TABLE gateway_prompt_revision (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;

INSERT INTO gateway_prompt_revision (id, revision) VALUES (1, 0);

CREATE TABLE gateway_prompts (
    name TEXT NOT NULL PRIMARY KEY,
    latest INTEGER NOT NULL,
    labels TEXT NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX gateway_prompts_revision ON gateway_prompts (revision);

CREATE TABLE gateway_prompt_versions (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE gateway_prompt_moves (
    revision INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    record TEXT NOT NULL
) STRICT;

CREATE INDEX gateway_prompt_moves_name ON gateway_prompt_moves (name, revision);
CREATE INDEX gateway_prompt_moves_label ON gateway_prompt_moves (name, label, revision);
