-- Slots: who may write, and how far the slot has come. All rows are there from the beginning.
CREATE TABLE firn_slots (
    slot     int4 PRIMARY KEY,
    epoch    int8 NOT NULL DEFAULT 0,
    last_seq int8 NOT NULL DEFAULT 0,
    fence    int8 NOT NULL DEFAULT 0,
    batch    int8 NOT NULL DEFAULT 0,
    owner    text COLLATE "C"
) WITH (fillfactor = 50);
INSERT INTO firn_slots (slot) SELECT generate_series(0, 16383);

-- Owners: processes that have slots, and until when they have them without another word.
CREATE TABLE firn_owners (
    owner   text COLLATE "C" PRIMARY KEY,
    since   timestamptz NOT NULL,
    expires timestamptz NOT NULL
);

-- Entities: what is known of each, without its contents.
CREATE TABLE firn_entities (
    storage       text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    slot          int4 NOT NULL,
    generation    int8 NOT NULL,
    swept         int8 NOT NULL DEFAULT 0,
    life          int8 NOT NULL,
    has_state     bool NOT NULL,
    has_events    bool NOT NULL,
    deleted_until int8,
    changed_seq   int8,
    changed_at    int8,
    change        text,
    full_key      bytea,
    PRIMARY KEY (storage, id)
) WITH (fillfactor = 80);
CREATE INDEX firn_entities_changes ON firn_entities (slot, changed_seq) WHERE changed_seq IS NOT NULL;
CREATE INDEX firn_entities_tombstones ON firn_entities (deleted_until, storage, id)
    WHERE deleted_until IS NOT NULL;
CREATE INDEX firn_entities_ended ON firn_entities (storage, id) WHERE swept < generation;

-- Contents: the state of a value entity or an actor, and the newest snapshot of one with events.
CREATE TABLE firn_states (
    storage    text COLLATE "C" NOT NULL,
    id         text COLLATE "C" NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    generation int8 NOT NULL,
    event      int8 NOT NULL,
    type       text NOT NULL,
    value      bytea NOT NULL,
    tags       text,
    PRIMARY KEY (storage, id, kind)
) WITH (fillfactor = 80);

CREATE TABLE firn_events (
    storage       text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    generation    int8 NOT NULL,
    number        int8 NOT NULL,
    slot          int4 NOT NULL,
    seq           int8 NOT NULL,
    at            int8 NOT NULL,
    type          text NOT NULL,
    value         bytea NOT NULL,
    deleted_until int8,
    PRIMARY KEY (storage, id, generation, number)
);
CREATE INDEX firn_events_changes ON firn_events (slot, seq);

-- Answers that are remembered for idempotency keys.
CREATE TABLE firn_replies (
    storage text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    life    int8 NOT NULL,
    command bytea NOT NULL,
    expires int8 NOT NULL,
    method  text NOT NULL,
    record  bytea NOT NULL,
    PRIMARY KEY (storage, id, life, command)
);
CREATE INDEX firn_replies_expires ON firn_replies (expires);

-- Effects that are committed and not yet known to be delivered, and receipts of those that were.
CREATE TABLE firn_outbox (
    slot   int4 NOT NULL,
    seq    int8 NOT NULL,
    place  int8 NOT NULL,
    method text NOT NULL,
    effect bytea NOT NULL,
    PRIMARY KEY (slot, seq, place)
);
CREATE TABLE firn_receipts (
    slot   int4 NOT NULL,
    sender int4 NOT NULL,
    seq    int8 NOT NULL,
    place  int8 NOT NULL,
    PRIMARY KEY (slot, sender, seq, place)
);

CREATE TABLE firn_timers (
    storage text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    name    text COLLATE "C" NOT NULL,
    slot    int4 NOT NULL,
    due     int8 NOT NULL,
    method  text NOT NULL,
    timer   bytea NOT NULL,
    full_id bytea,
    PRIMARY KEY (storage, id, name)
);
CREATE INDEX firn_timers_due ON firn_timers (due, storage, id, name);

-- Replicated entities: runs of nodes, and what each node has.
CREATE TABLE firn_nodes (
    name        text COLLATE "C" PRIMARY KEY,
    node        text COLLATE "C" NOT NULL,
    incarnation int8 NOT NULL,
    full_name   text
);
CREATE TABLE firn_replicas (
    node     text COLLATE "C" NOT NULL,
    storage  text COLLATE "C" NOT NULL,
    id       text COLLATE "C" NOT NULL,
    at       int8 NOT NULL,
    deleted  bool NOT NULL,
    state    bytea NOT NULL,
    full_key bytea,
    PRIMARY KEY (node, storage, id)
) WITH (fillfactor = 80);
CREATE INDEX firn_replicas_listed ON firn_replicas (storage, id) WHERE NOT deleted;

-- What guards the replicas of a node against writes of connections that were lost.
CREATE TABLE firn_fences (
    node  text COLLATE "C" PRIMARY KEY,
    fence int8 NOT NULL
);

-- Proofs that the store uses a key: something sealed with it.
CREATE TABLE firn_keys (
    id     text COLLATE "C" PRIMARY KEY,
    sealed bytea NOT NULL
);
