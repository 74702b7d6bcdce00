-- Changes by acts that are finished: what an edition must cover. While an act is under way its changes
-- are published by the way only.

ALTER TABLE status_lists ADD COLUMN due INTEGER NOT NULL DEFAULT 0;

UPDATE status_lists SET due = changes;
