-- Changes by acts that are finished: what an edition must cover. While an act is under way its changes
-- are published by the way only.

ALTER TABLE status_lists ADD COLUMN due INTEGER NOT NULL DEFAULT 0;

UPDATE status_lists SET due = changes;

-- Lists are never deleted: those that are not due yet are found without the others.
CREATE INDEX status_lists_undue ON status_lists (id) WHERE due < changes;
