-- Whether the process that leads has not compared the targets with the database yet, although nobody led for a while,
-- or has found that they are of another one. Nobody serves the documents then.
ALTER TABLE lease ADD COLUMN stopped BOOLEAN NOT NULL DEFAULT false;
