-- Lists are never deleted: those that are not due yet are found without the others.
CREATE INDEX status_lists_undue ON status_lists (id) WHERE due < changes;
