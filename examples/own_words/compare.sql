-- The same table, embedded by a model of one's own beside the old one; what each finds first.

SELECT pgsbert.create_vectorizer('help', columns => '{title,body}', model => 'own-words',
                                 name => 'help_own', target => 'own_embedding');
CALL pgsbert.wait_until_synced('help_own');

CREATE TEMPORARY TABLE answers AS
SELECT query, title AS opened,
       (SELECT (hit.item).title FROM help_search(query, k => 1) AS hit) AS before,
       (SELECT (hit.item).title FROM help_own_search(query, k => 1) AS hit) AS after
FROM asked JOIN help ON id = help_id
ORDER BY id;

SELECT query, before, after FROM answers;
SELECT count(*) AS asked,
       count(*) FILTER (WHERE before = opened) AS right_before,
       count(*) FILTER (WHERE after = opened) AS right_after
FROM answers;
